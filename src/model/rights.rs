//! Who may do what with a list: one function, one table. The command line is the administrator's; `list set --as` and the
//! administration page act for other people.

use super::list::List;

/// Somebody, as far as one list is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Administrator,
    /// In `owners` of the list.
    Owner,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Any setting but those below.
    ChangeSettings,
    /// `address` and `aliases`: names that are unique in the whole farm.
    ChangeAddress,
    ChangeOwners,
    /// `before`, `after` and `webhook`: what they run or reach, they run and reach as mailmill.
    ChangeHooks,
    CreateList,
    DeleteList,
}

/// Role, action, and why not. What is not in the table is allowed to nobody but the administrator.
const TABLE: [(Role, Action, Option<&str>); 6] = [
    (Role::Owner, Action::ChangeSettings, None),
    (Role::Owner, Action::ChangeAddress, Some("addresses are unique in the farm and are given by the administrator")),
    (Role::Owner, Action::ChangeOwners, Some("owners are named by the administrator")),
    (Role::Owner, Action::ChangeHooks, Some("hooks run as mailmill and are set by the administrator")),
    (Role::Owner, Action::CreateList, Some("lists are made by the administrator")),
    (Role::Owner, Action::DeleteList, Some("lists are deleted by the administrator")),
];

/// Whether somebody may do it, or why not.
pub fn may(role: Role, action: Action) -> Result<(), &'static str> {
    if role == Role::Administrator {
        return Ok(());
    }
    match TABLE.iter().find(|(who, what, _)| (*who, *what) == (role, action)) {
        Some((_, _, None)) => Ok(()),
        Some((_, _, Some(why))) => Err(why),
        None => Err("only owners of the list and the administrator may"),
    }
}

/// The role of an address in a list.
pub fn role_of(list: &List, address: &str) -> Role {
    let owns = list.settings.owners.iter().any(|owner| owner.trim().eq_ignore_ascii_case(address.trim()));
    if owns { Role::Owner } else { Role::Other }
}

/// What changing a setting is.
pub fn action_of(key: &str) -> Action {
    match key {
        "address" | "aliases" => Action::ChangeAddress,
        "owners" => Action::ChangeOwners,
        "before" | "after" | "webhook" => Action::ChangeHooks,
        _ => Action::ChangeSettings,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_change_settings_but_neither_addresses_nor_owners_and_others_nothing() {
        for key in ["senders", "max_size", "overwrite", "receive"] {
            assert_eq!(may(Role::Owner, action_of(key)), Ok(()));
            assert!(may(Role::Other, action_of(key)).is_err());
        }
        for key in ["address", "aliases", "owners", "before", "after", "webhook"] {
            assert!(may(Role::Owner, action_of(key)).is_err(), "{key}");
            assert_eq!(may(Role::Administrator, action_of(key)), Ok(()));
        }
        assert!(may(Role::Other, Action::DeleteList).is_err());
    }
}
