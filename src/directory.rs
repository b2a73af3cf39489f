//! Which list an address means. One immutable snapshot serves a whole stretch of mail, so nothing is locked per mail;
//! the registry makes a new one whenever a list changes.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::model::list::{List, ListId};

/// Addresses that RFC 5321 section 4.5.1 and RFC 2142 reserve for the people who run the service.
pub const RESERVED: &[&str] = &["postmaster"];

/// Where an address leads.
#[derive(Clone, Debug, PartialEq)]
pub struct Target<'d> {
    pub list: &'d Arc<List>,
    /// As written behind the plus, neither folded nor cleaned.
    pub folder: Option<String>,
}

/// A snapshot: address -> list.
#[derive(Debug, Default)]
pub struct Directory {
    lists: HashMap<ListId, Arc<List>>,
    /// Keys are lower case: `local` for any accepted domain, `local@domain` for one.
    addresses: HashMap<String, ListId>,
    /// Empty: any domain.
    accepted_domains: Vec<String>,
}

impl Directory {
    pub fn new(lists: Vec<List>, accepted_domains: &[String]) -> Self {
        let mut addresses = HashMap::new();
        for list in &lists {
            for address in addresses_of(list) {
                addresses.insert(address.to_lowercase(), list.id);
            }
        }
        let lists = lists.into_iter().map(|list| (list.id, Arc::new(list))).collect();
        let accepted_domains = accepted_domains.iter().map(|domain| domain.to_lowercase()).collect();
        Self { lists, addresses, accepted_domains }
    }

    /// The list that receives mail for an envelope recipient, and the folder that a subaddress names: `docs+reports@` leads into
    /// the folder `reports` of the list at `docs@` (RFC 5233). A list whose address has a plus itself comes first.
    pub fn find(&self, recipient: &str) -> Option<Target<'_>> {
        let recipient = recipient.trim();
        let (local, domain) = recipient.rsplit_once('@').unwrap_or((recipient, ""));
        let local = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(local);
        if let Some(list) = self.at(local, domain) {
            return Some(Target { list, folder: None });
        }
        let (user, detail) = local.split_once('+')?;
        let folder = Some(detail).filter(|detail| !detail.is_empty()).map(str::to_owned);
        self.at(user, domain).map(|list| Target { list, folder })
    }

    fn at(&self, local: &str, domain: &str) -> Option<&Arc<List>> {
        let (local, domain) = (local.to_lowercase(), domain.to_lowercase());
        if let Some(id) = self.addresses.get(&format!("{local}@{domain}")) {
            return self.lists.get(id);
        }
        let accepted = self.accepted_domains.is_empty() || self.accepted_domains.contains(&domain);
        self.addresses.get(&local).filter(|_| accepted).and_then(|id| self.lists.get(id))
    }

    /// The known address that looks most like this one, for people who mistyped it.
    pub fn nearest(&self, recipient: &str) -> Option<&str> {
        const ALIKE: f64 = 0.85;
        /// Comparing with every address of a very large farm would hold up other mail.
        const COMPARED: usize = 2000;
        /// Nobody mistypes a longer one (RFC 5321 section 4.5.3.1.3), and comparing takes time with its length.
        const LONGEST: usize = 254;
        if recipient.len() > LONGEST {
            return None;
        }
        let recipient = recipient.trim().to_lowercase();
        let local = recipient.rsplit_once('@').map_or(recipient.as_str(), |(local, _)| local);
        let likeness = |address: &str| strsim::jaro_winkler(local, address.split('@').next().unwrap_or(address));
        let candidates = self.addresses.keys().take(COMPARED).map(|address| (likeness(address), address.as_str()));
        candidates
            .filter(|(alike, _)| *alike >= ALIKE)
            .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(a.1)))
            .map(|(_, address)| address)
    }

    pub fn list(&self, id: ListId) -> Option<&Arc<List>> {
        self.lists.get(&id)
    }

    pub fn by_name(&self, name: &str) -> Option<&Arc<List>> {
        self.lists.values().find(|list| list.name.eq_ignore_ascii_case(name))
    }

    /// All lists, by name.
    pub fn all(&self) -> Vec<&Arc<List>> {
        let mut lists: Vec<_> = self.lists.values().collect();
        lists.sort_by(|a, b| a.name.cmp(&b.name));
        lists
    }
}

/// The address and the aliases of a list.
pub fn addresses_of(list: &List) -> impl Iterator<Item = &String> {
    std::iter::once(&list.settings.address).chain(&list.settings.aliases).filter(|address| !address.is_empty())
}

/// The snapshot in force.
#[derive(Debug, Default)]
pub struct Current(RwLock<Arc<Directory>>);

impl Current {
    pub fn get(&self) -> Arc<Directory> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn set(&self, directory: Directory) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(directory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::list::Kind;
    use crate::model::settings::ListSettings;

    fn list(id: u32, name: &str, address: &str, aliases: &[&str]) -> List {
        let settings = ListSettings {
            address: address.to_owned(),
            aliases: aliases.iter().map(|&alias| alias.to_owned()).collect(),
            ..ListSettings::default()
        };
        List { id: ListId(id), name: name.to_owned(), kind: Kind::Announcements, settings }
    }

    fn named<'d>(directory: &'d Directory, recipient: &str) -> Option<&'d str> {
        directory.find(recipient).map(|target| target.list.name.as_str())
    }

    #[test]
    fn addresses_and_aliases_are_found_whatever_their_case() {
        let directory = Directory::new(vec![list(1, "News", "News", &["announce"])], &[]);
        for recipient in ["news@a.example", "NEWS@b.example", "announce@c.example", "news", " \"news\"@a.example "] {
            assert_eq!(named(&directory, recipient), Some("News"), "{recipient}");
        }
        assert_eq!(named(&directory, "newsx@a.example"), None);
    }

    #[test]
    fn accepted_domains_bound_short_addresses_and_whole_addresses_bind_one_domain() {
        let lists = vec![list(1, "a", "news", &[]), list(2, "b", "news@special.example", &[])];
        let directory = Directory::new(lists, &["Lists.example".to_owned()]);
        assert_eq!(named(&directory, "news@lists.EXAMPLE"), Some("a"));
        assert_eq!(named(&directory, "news@elsewhere.example"), None);
        assert_eq!(named(&directory, "news@special.example"), Some("b"));
    }

    #[test]
    fn a_subaddress_names_a_folder_and_a_list_with_a_plus_comes_first() {
        let directory = Directory::new(vec![list(1, "docs", "docs", &[]), list(2, "plus", "docs+x", &[])], &[]);
        let found = |recipient| directory.find(recipient).map(|target| (target.list.name.as_str(), target.folder));
        assert_eq!(found("Docs+Reports 2026@a.example"), Some(("docs", Some("Reports 2026".to_owned()))));
        assert_eq!(found("docs+X@a.example"), Some(("plus", None)));
        assert_eq!(found("docs+@a.example"), Some(("docs", None)));
        assert_eq!(found("other+x@a.example"), None);
    }

    #[test]
    fn a_mistyped_address_has_a_neighbour_and_a_foreign_one_has_none() {
        let directory = Directory::new(vec![list(1, "a", "announcements", &[])], &[]);
        assert_eq!(directory.nearest("anouncements@x.example"), Some("announcements"));
        assert_eq!(directory.nearest("zzz@x.example"), None);
    }
}
