//! Decides, recipient by recipient, which list gets the mail and which reason stands against it. Pure: a mail, an envelope and a
//! snapshot of the directory go in, nothing is looked up elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::directory::{Directory, Target};
use crate::model::list::List;
use crate::model::mail::{Envelope, Mail};
use crate::model::outcome::Reason;
use crate::model::plan::{Accepted, Routed};
use crate::model::settings::{Senders, Verified};

/// Named groups of senders, from `[groups]` of the configuration.
pub type Groups = BTreeMap<String, Vec<String>>;

/// Routes a mail from the drop folder by its envelope.
pub fn route(envelope: &Envelope, mail: &Mail<'_>, size: u64, directory: &Directory, groups: &Groups) -> Routed {
    let mut routed = Routed::default();
    let sender = sender_of(envelope, mail);
    for recipient in &envelope.recipients {
        if mail.ours {
            routed.refuse(recipient, Reason::Loop, Reason::Loop.text().to_owned());
            continue;
        }
        let Some(Target { list, folder }) = directory.find(recipient) else {
            let hint = routed.failures.len() < HINTS;
            routed.refuse(recipient, Reason::UnknownAddress, unknown(recipient, directory, hint));
            continue;
        };
        if let Some(known) = routed.accepted.iter_mut().find(|accepted| accepted.list.id == list.id) {
            known.recipients.push(recipient.clone());
            // One delivery goes to one place: the first recipient that names a folder says where.
            known.folder = known.folder.take().or(folder);
            continue;
        }
        match judge(list, sender, mail, size, groups) {
            Ok(allowed) => routed.accepted.push(Accepted {
                list: Arc::clone(list),
                recipients: vec![recipient.clone()],
                created_by: allowed.created_by,
                allowed_by: allowed.by,
                folder,
            }),
            Err((reason, text)) => routed.refuse(recipient, reason, text),
        }
    }
    routed
}

/// Routes a mail that an administrator imports: no policy applies.
pub fn import(list: &Arc<List>, envelope: &Envelope, mail: &Mail<'_>, groups: &Groups) -> Routed {
    let sender = sender_of(envelope, mail);
    let created_by = member(list, sender, groups).map_or_else(|| SYSTEM.to_owned(), |_| sender.to_lowercase());
    let accepted = Accepted {
        list: Arc::clone(list),
        recipients: envelope.recipients.clone(),
        created_by,
        allowed_by: "imported".to_owned(),
        folder: None,
    };
    Routed { accepted: vec![accepted], failures: Vec::new() }
}

const SYSTEM: &str = "system";

/// The envelope sender; the From field where it is null.
pub fn sender_of<'m>(envelope: &'m Envelope, mail: &'m Mail<'_>) -> &'m str {
    let from = mail.from.as_ref().map_or("", |from| &from.address);
    if envelope.sender.is_empty() { from } else { &envelope.sender }
}

/// So many failed recipients of one mail are told which address they may have meant: looking for it compares all addresses, and a
/// mail may name a hundred thousand people.
const HINTS: usize = 20;

fn unknown(recipient: &str, directory: &Directory, hint: bool) -> String {
    match hint.then(|| directory.nearest(recipient)).flatten() {
        Some(near) => format!("no list has the address {recipient}; the nearest is {near}"),
        None => format!("no list has the address {recipient}"),
    }
}

/// A list takes the mail: on whose account, and what let it in.
struct Allowed {
    created_by: String,
    by: String,
}

/// The policy of one list, in the order in which people would ask.
fn judge(list: &List, sender: &str, mail: &Mail<'_>, size: u64, groups: &Groups) -> Result<Allowed, (Reason, String)> {
    let settings = &list.settings;
    let name = &list.name;
    if !settings.receive {
        return Err((Reason::ListDisabled, format!("list {name} does not receive mail (receive = false)")));
    }
    if settings.max_size.is_exceeded_by(size) {
        let limit = settings.max_size.0;
        return Err((Reason::TooLarge, format!("{size} bytes, list {name} takes at most {limit}")));
    }
    if mail.automatic && !settings.automatic {
        return Err((Reason::SenderNotAllowed, format!("list {name} takes no automatic mail (Auto-Submitted)")));
    }
    let is_verified = mail.authentication.as_ref().is_some_and(|found| found.aligned);
    if settings.senders_verified == Verified::Pass && !is_verified {
        return Err((Reason::SenderForged, unverified(mail, name)));
    }
    match (member(list, sender, groups), settings.senders) {
        (Some(entry), _) => Ok(Allowed { created_by: sender.to_lowercase(), by: format!("member {entry}") }),
        (None, Senders::Any) => Ok(Allowed { created_by: SYSTEM.to_owned(), by: "senders = any".to_owned() }),
        (None, Senders::Members) => {
            Err((Reason::SenderNotAllowed, format!("{sender} is not among the members of list {name}")))
        }
    }
}

/// What a person needs to know to mend it.
fn unverified(mail: &Mail<'_>, list: &str) -> String {
    let from = mail.from.as_ref().map_or("nobody", |from| &from.address);
    match &mail.authentication {
        None => format!(
            "list {list} wants verified senders, and neither a trusted server (incoming.trusted_authserv) nor a signature (incoming.check_dkim) says anything of {from}"
        ),
        Some(found) => {
            format!("{} has not verified that the mail is from {from}, and list {list} wants it", found.authserv_id)
        }
    }
}

/// What stands against a mail before its header is known: the SMTP service asks at RCPT, with the size that the client declares.
/// A null sender is judged by the From field, later.
pub fn objection(list: &List, sender: &str, size: u64, groups: &Groups) -> Option<Reason> {
    let settings = &list.settings;
    if !settings.receive {
        return Some(Reason::ListDisabled);
    }
    if settings.max_size.is_exceeded_by(size) {
        return Some(Reason::TooLarge);
    }
    let open = settings.senders == Senders::Any || sender.is_empty() || member(list, sender, groups).is_some();
    (!open).then_some(Reason::SenderNotAllowed)
}

/// The entry of `members` that lets a sender in.
pub fn member<'l>(list: &'l List, sender: &str, groups: &Groups) -> Option<&'l str> {
    let sender = sender.to_lowercase();
    let matching = list.settings.members.iter().find(|entry| {
        matches(entry, &sender)
            || groups.iter().any(|(name, members)| {
                name.eq_ignore_ascii_case(entry) && members.iter().any(|member| matches(member, &sender))
            })
    });
    matching.map(String::as_str)
}

/// `a@b`, `@domain` (that domain alone) or `@*.domain` (what lies below it). The sender is in lower case.
fn matches(entry: &str, sender: &str) -> bool {
    let entry = entry.trim().to_lowercase();
    let domain = sender.rsplit_once('@').map_or("", |(_, domain)| domain);
    match entry.strip_prefix('@') {
        Some(wanted) => match wanted.strip_prefix("*.") {
            Some(parent) => domain.strip_suffix(parent).is_some_and(|sub| sub.len() > 1 && sub.ends_with('.')),
            None => !wanted.is_empty() && domain == wanted,
        },
        None => !entry.is_empty() && entry == sender,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::list::{Kind, ListId};
    use crate::model::settings::{ListSettings, Size};

    fn directory(change: impl FnOnce(&mut ListSettings)) -> Directory {
        let mut settings = ListSettings {
            address: "news".to_owned(),
            aliases: vec!["announce".to_owned()],
            senders: Senders::Any,
            ..ListSettings::default()
        };
        change(&mut settings);
        Directory::new(vec![List { id: ListId(1), name: "News".to_owned(), kind: Kind::Announcements, settings }], &[])
    }

    fn to(recipients: &[&str]) -> Envelope {
        let recipients = recipients.iter().map(|&recipient| recipient.to_owned()).collect();
        Envelope { sender: "Ann@A.example".to_owned(), recipients }
    }

    fn reasons(mail: &Mail<'_>, size: u64, directory: &Directory) -> Vec<Reason> {
        let routed = route(&to(&["news@l.example"]), mail, size, directory, &Groups::new());
        routed.failures.iter().map(|failure| failure.reason).collect()
    }

    #[test]
    fn two_addresses_of_one_list_are_one_delivery_and_an_unknown_one_holds_up_nobody() {
        let envelope = to(&["news@l.example", "newz@l.example", "announce@l.example"]);
        let routed = route(&envelope, &Mail::default(), 1, &directory(|_| ()), &Groups::new());
        assert_eq!(routed.accepted.len(), 1);
        assert_eq!(routed.accepted[0].recipients, ["news@l.example", "announce@l.example"]);
        assert_eq!(routed.failures.len(), 1);
        assert_eq!(routed.failures[0].reason, Reason::UnknownAddress);
        assert_eq!(routed.failures[0].text, "no list has the address newz@l.example; the nearest is news");
    }

    #[test]
    fn each_policy_of_a_list_has_its_reason() {
        let mail = Mail::default();
        let automatic = Mail { automatic: true, ..Mail::default() };
        let ours = Mail { ours: true, ..Mail::default() };
        assert_eq!(reasons(&mail, 1, &directory(|list| list.receive = false)), [Reason::ListDisabled]);
        assert_eq!(reasons(&mail, 11, &directory(|list| list.max_size = Size(10))), [Reason::TooLarge]);
        assert_eq!(reasons(&mail, 10, &directory(|list| list.max_size = Size(10))), []);
        assert_eq!(reasons(&automatic, 1, &directory(|list| list.automatic = false)), [Reason::SenderNotAllowed]);
        assert_eq!(reasons(&automatic, 1, &directory(|_| ())), []);
        assert_eq!(reasons(&ours, 1, &directory(|_| ())), [Reason::Loop]);
        assert_eq!(reasons(&mail, 1, &directory(|list| list.senders = Senders::Members)), [Reason::SenderNotAllowed]);
    }

    #[test]
    fn what_is_objected_at_rcpt_is_refused_later_too_and_a_null_sender_is_judged_later() {
        let list = |change: &dyn Fn(&mut ListSettings)| {
            let mut settings = ListSettings { senders: Senders::Any, ..ListSettings::default() };
            change(&mut settings);
            List { id: ListId(1), name: "x".to_owned(), kind: Kind::Blog, settings }
        };
        let said = |change: &dyn Fn(&mut ListSettings), sender| objection(&list(change), sender, 11, &Groups::new());
        assert_eq!(said(&|_| (), "a@a.example"), None);
        assert_eq!(said(&|list| list.receive = false, "a@a.example"), Some(Reason::ListDisabled));
        assert_eq!(said(&|list| list.max_size = Size(10), "a@a.example"), Some(Reason::TooLarge));
        let members = |list: &mut ListSettings| list.senders = Senders::Members;
        assert_eq!(said(&members, "a@a.example"), Some(Reason::SenderNotAllowed));
        assert_eq!(said(&members, ""), None);
    }

    #[test]
    fn members_are_addresses_domains_subdomains_and_groups() {
        let groups = Groups::from([("Staff".to_owned(), vec!["@g.example".to_owned()])]);
        let list = |members: &[&str]| {
            let members = members.iter().map(|&member| member.to_owned()).collect();
            let settings = ListSettings { members, ..ListSettings::default() };
            List { id: ListId(1), name: "x".to_owned(), kind: Kind::Blog, settings }
        };
        for (entry, sender, lets_in) in [
            ("ann@a.example", "Ann@A.example", true),
            ("@a.example", "ann@a.example", true),
            ("@a.example", "ann@sub.a.example", false),
            ("@*.a.example", "ann@sub.a.example", true),
            ("@*.a.example", "ann@a.example", false),
            ("@*.a.example", "ann@nota.example", false),
            ("staff", "x@g.example", true),
            ("staff", "x@h.example", false),
            ("", "", false),
            ("@", "x", false),
        ] {
            assert_eq!(member(&list(&[entry]), sender, &groups).is_some(), lets_in, "{entry} {sender}");
        }
    }

    #[test]
    fn the_from_field_counts_only_where_the_envelope_sender_is_null() {
        let from = crate::model::mail::Mailbox { name: None, address: "from@a.example".to_owned() };
        let mail = Mail { from: Some(from), ..Mail::default() };
        assert_eq!(sender_of(&to(&[]), &mail), "Ann@A.example");
        assert_eq!(sender_of(&Envelope::default(), &mail), "from@a.example");
    }
}
