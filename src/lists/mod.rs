//! Making, changing and deleting lists: the rules that keep addresses unique and settings sensible. Changes take effect at once:
//! the next mail that is routed sees the new directory.

mod apply;

use std::sync::{Arc, Mutex, PoisonError};

use crate::directory::{Current, Directory, RESERVED, addresses_of};
use crate::model::item::BlobEntry;
use crate::model::list::{ItemId, Kind, List, ListId, UnknownKind};
use crate::model::settings::{ListSettings, SettingError};
use crate::store::{Counter, ListStore, StoreError, Write};

pub use apply::Applied;

/// A change that is refused, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    #[error("there is no list `{0}`; see `mailmill list ls`")]
    NotFound(String),
    #[error("there is a list `{0}` already; change it with `mailmill list set`")]
    Exists(String),
    #[error(
        "`{0}` cannot be the name of a list: use 1 to 128 characters, none of them a control character, `/` or `\\`"
    )]
    BadName(String),
    #[error("`{0}` is not an address: write LOCAL or LOCAL@DOMAIN, without spaces")]
    BadAddress(String),
    #[error("the address `{address}` belongs to list `{list}`; addresses are unique, whatever their case")]
    Taken { address: String, list: String },
    #[error("the address `{0}` is reserved for the people who run the mail service (RFC 5321 section 4.5.1)")]
    Reserved(String),
    #[error("a list needs an address: --address LOCAL[@DOMAIN]")]
    NoAddress,
    #[error("list `{list}` is {has}, not {wanted}: the kind of a list cannot change; delete it and create it anew")]
    KindFixed { list: String, has: Kind, wanted: Kind },
    #[error(transparent)]
    Setting(#[from] SettingError),
    #[error(transparent)]
    Kind(#[from] UnknownKind),
    #[error("{file}:{line}: {cause}")]
    File { file: String, line: usize, cause: String },
    #[error("{who} may not change {what} of list `{list}`: {why}")]
    NotAllowed { who: String, what: String, list: String, why: &'static str },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The lists of a store. Everything that changes one goes through here.
pub struct Lists<'m> {
    pub store: &'m dyn ListStore,
    pub current: &'m Current,
    /// The writer lock of the engine: a group is never built while a list changes.
    pub writer: &'m Mutex<()>,
    pub accepted_domains: &'m [String],
    pub address_prefix: &'m str,
}

impl Lists<'_> {
    /// Reads the directory from the store.
    pub fn load(&self) -> Result<(), StoreError> {
        self.current.set(Directory::new(self.store.lists()?, self.accepted_domains));
        Ok(())
    }

    pub fn find(&self, name: &str) -> Result<Arc<List>, ListError> {
        self.current.get().by_name(name).cloned().ok_or_else(|| ListError::NotFound(name.to_owned()))
    }

    pub fn create(&self, name: &str, kind: Kind, mut settings: ListSettings) -> Result<Arc<List>, ListError> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        check_name(name)?;
        if self.current.get().by_name(name).is_some() {
            return Err(ListError::Exists(name.to_owned()));
        }
        if settings.address.is_empty() {
            return Err(ListError::NoAddress);
        }
        settings.address = format!("{}{}", self.address_prefix, settings.address);
        let number = self.store.counter(Counter::List)?;
        let id = ListId(u32::try_from(number).map_err(|_| StoreError::Backend("list numbers are used up".to_owned()))?);
        let list = List { id, name: name.to_owned(), kind, settings };
        check(&list, &self.others(list.id))?;
        self.write(vec![Write::Counter(Counter::List, number + 1), Write::List(Box::new(list))])?;
        self.find(name)
    }

    pub fn set(
        &self,
        name: &str,
        change: impl FnOnce(&mut ListSettings) -> Result<(), SettingError>,
    ) -> Result<Arc<List>, ListError> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list = (*self.find(name)?).clone();
        change(&mut list.settings)?;
        check(&list, &self.others(list.id))?;
        self.write(vec![Write::List(Box::new(list))])?;
        self.find(name)
    }

    /// Deletes a list with its items. What no other list names of its blobs is garbage from then on. The ledger stays: the
    /// id of the list is never used again.
    pub fn delete(&self, name: &str) -> Result<(), ListError> {
        let list = self.find(name)?;
        {
            let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            self.write(vec![
                Write::DropList(list.id),
                Write::DropFiles(list.id),
                Write::DropThreads(list.id),
                Write::DropEvents(list.id),
            ])?;
        }
        Ok(self.drop_items(list.id)?)
    }

    /// Drops the items of lists whose deletion was cut short by a crash: nobody would ever find them again.
    pub fn finish_deletions(&self) -> Result<(), StoreError> {
        let directory = self.current.get();
        for number in 1..self.store.counter(Counter::List)? {
            let Ok(number) = u32::try_from(number) else { break };
            if directory.list(ListId(number)).is_none() {
                self.drop_items(ListId(number))?;
            }
        }
        Ok(())
    }

    fn drop_items(&self, list: ListId) -> Result<(), StoreError> {
        /// Items are dropped in stretches, so that a large list does not need a huge group.
        const STRETCH: usize = 1000;
        loop {
            // Between two stretches mail may be committed. None can arrive for a list that is not in the directory.
            let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            let items = self.store.items(list, ItemId(0), STRETCH)?;
            if items.is_empty() {
                return Ok(());
            }
            let mut entries = std::collections::HashMap::<_, BlobEntry>::new();
            let mut writes = Vec::new();
            for (id, item) in items {
                for file in item.files() {
                    let known = match entries.get(&file.blob) {
                        Some(entry) => Some(*entry),
                        None => self.store.blob_entry(file.blob)?,
                    };
                    if let Some(entry) = known {
                        entries
                            .insert(file.blob, BlobEntry { references: entry.references.saturating_sub(1), ..entry });
                    }
                }
                writes.push(Write::DropItem(list, id));
            }
            writes.extend(entries.into_iter().map(|(hash, entry)| Write::BlobEntry(hash, entry)));
            self.store.commit(writes.into())?;
        }
    }

    fn write(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        self.store.commit(writes.into())?;
        self.load()
    }

    fn others(&self, id: ListId) -> Vec<List> {
        let directory = self.current.get();
        directory.all().into_iter().filter(|list| list.id != id).map(|list| (**list).clone()).collect()
    }
}

/// What must hold of a list among the others.
fn check(list: &List, others: &[List]) -> Result<(), ListError> {
    if list.settings.address.is_empty() {
        return Err(ListError::NoAddress);
    }
    let mut seen: Vec<String> = Vec::new();
    for address in addresses_of(list) {
        check_address(address)?;
        let folded = address.to_lowercase();
        let has_it = |other: &&List| addresses_of(other).any(|taken| taken.to_lowercase() == folded);
        if let Some(other) = others.iter().find(has_it) {
            return Err(ListError::Taken { address: address.clone(), list: other.name.clone() });
        }
        if seen.contains(&folded) {
            return Err(ListError::Taken { address: address.clone(), list: list.name.clone() });
        }
        seen.push(folded);
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), ListError> {
    let fine = !name.trim().is_empty()
        && name.chars().count() <= 128
        && !name.chars().any(|c| c.is_control() || matches!(c, '/' | '\\'))
        && name.trim() == name;
    if fine { Ok(()) } else { Err(ListError::BadName(name.to_owned())) }
}

fn check_address(address: &str) -> Result<(), ListError> {
    let (local, domain) = address.split_once('@').map_or((address, None), |(local, domain)| (local, Some(domain)));
    let good = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '<' | '>' | '"' | ',' | ';' | ':' | '@');
    let domain_ok = domain.is_none_or(|domain| !domain.is_empty() && domain.chars().all(good));
    if local.is_empty() || address.len() > 254 || !local.chars().all(good) || !domain_ok {
        return Err(ListError::BadAddress(address.to_owned()));
    }
    if RESERVED.iter().any(|reserved| local.eq_ignore_ascii_case(reserved)) {
        return Err(ListError::Reserved(address.to_owned()));
    }
    Ok(())
}
