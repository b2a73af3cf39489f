//! `list apply`: lists as a TOML file says. Everything is checked, among the lists of the file too, before anything is written,
//! and everything is written at once.

use std::ops::Range;
use std::path::Path;
use std::sync::PoisonError;

use toml::de::DeTable;

use super::{ListError, Lists, check, check_name};
use crate::model::list::{Kind, List, ListId, UnknownKind};
use crate::model::settings::ListSettings;
use crate::store::{Counter, StoreError, Write};

/// What `list apply` did with one list.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Applied {
    pub list: String,
    pub change: &'static str,
}

/// A list as the file wants it, and the line that says so.
struct Wanted {
    name: String,
    kind: Kind,
    settings: ListSettings,
    line: usize,
}

/// The file, for messages that say where.
struct Source<'t> {
    file: &'t Path,
    text: &'t str,
}

impl Lists<'_> {
    /// Each table is a list: `[news]`, with `kind`, `address` and any settings. Settings that are not named get their defaults,
    /// lists that are not named stay as they are.
    pub fn apply(&self, file: &Path, text: &str) -> Result<Vec<Applied>, ListError> {
        let source = Source { file, text };
        let wanted = source.read()?;
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<List> = self.current.get().all().into_iter().map(|list| (**list).clone()).collect();
        let mut next = self.store.counter(Counter::List)?;
        let mut applied = Vec::new();
        let mut changed: Vec<(ListId, usize)> = Vec::new();
        for Wanted { name, kind, mut settings, line } in wanted {
            // The prefix is there already in what `list show` printed.
            if !settings.address.starts_with(self.address_prefix) {
                settings.address.insert_str(0, self.address_prefix);
            }
            let existing = all.iter_mut().find(|list| list.name.eq_ignore_ascii_case(&name));
            let change = match existing {
                Some(list) if list.kind != kind => {
                    let error = ListError::KindFixed { list: list.name.clone(), has: list.kind, wanted: kind };
                    return Err(source.error(line, &error));
                }
                Some(list) if list.settings == settings => "unchanged",
                Some(list) => {
                    list.settings = settings;
                    changed.push((list.id, line));
                    "changed"
                }
                None => {
                    check_name(&name).map_err(|error| source.error(line, &error))?;
                    let id =
                        u32::try_from(next).map_err(|_| StoreError::Backend("list numbers are used up".to_owned()))?;
                    next += 1;
                    changed.push((ListId(id), line));
                    all.push(List { id: ListId(id), name: name.clone(), kind, settings });
                    "created"
                }
            };
            applied.push(Applied { list: name, change });
        }
        let mut writes = vec![Write::Counter(Counter::List, next)];
        for (id, line) in changed {
            let Some(at) = all.iter().position(|list| list.id == id) else { continue };
            let list = all.swap_remove(at);
            check(&list, &all).map_err(|error| source.error(line, &error))?;
            writes.push(Write::List(Box::new(list.clone())));
            all.push(list);
        }
        if writes.len() > 1 {
            self.write(writes)?;
        }
        Ok(applied)
    }
}

impl Source<'_> {
    fn error(&self, line: usize, cause: &dyn std::fmt::Display) -> ListError {
        ListError::File { file: self.file.display().to_string(), line, cause: cause.to_string() }
    }

    fn line(&self, span: &Range<usize>) -> usize {
        self.text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1
    }

    fn read(&self) -> Result<Vec<Wanted>, ListError> {
        let invalid = |error: toml::de::Error| {
            let line = self.line(&error.span().unwrap_or_default());
            self.error(line, &error.message())
        };
        // Values come from the one reading, places from the other.
        let tables: toml::Table = toml::from_str(self.text).map_err(invalid)?;
        let places = DeTable::parse(self.text).map_err(invalid)?;
        let mut wanted = Vec::new();
        for (key, place) in places.get_ref() {
            let name = key.get_ref().to_string();
            let line = self.line(&key.span());
            let (Some(toml::Value::Table(table)), Some(inner)) = (tables.get(&name), place.get_ref().as_table()) else {
                return Err(self.error(line, &format!("`{name}` is not a table: write [{name}]")));
            };
            let line_of = |key: &str| {
                let found = inner.iter().find(|(found, _)| *found.get_ref() == key);
                found.map_or(line, |(found, _)| self.line(&found.span()))
            };
            wanted.push(self.one(name, table, line, &line_of)?);
        }
        wanted.sort_by_key(|wanted| wanted.line);
        Ok(wanted)
    }

    fn one(
        &self,
        name: String,
        table: &toml::Table,
        line: usize,
        line_of: &dyn Fn(&str) -> usize,
    ) -> Result<Wanted, ListError> {
        let kind = match table.get("kind") {
            Some(toml::Value::String(word)) => {
                word.parse().map_err(|error: UnknownKind| self.error(line_of("kind"), &error))?
            }
            Some(_) => return Err(self.error(line_of("kind"), &"`kind` is a word, for example \"announcements\"")),
            None => {
                return Err(self.error(line, &format!("[{name}] lacks `kind`, for example kind = \"announcements\"")));
            }
        };
        let mut settings = ListSettings::default();
        for (key, value) in table.iter().filter(|(key, _)| *key != "kind") {
            settings.set(key, value.clone()).map_err(|error| self.error(line_of(key), &error))?;
        }
        Ok(Wanted { name, kind, settings, line })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::directory::Current;
    use crate::store::{ListStore, MemoryStore};

    fn apply(store: &MemoryStore, text: &str) -> Result<Vec<&'static str>, String> {
        let (current, writer) = (Current::default(), Mutex::default());
        let lists = Lists { store, current: &current, writer: &writer, accepted_domains: &[], address_prefix: "" };
        lists.load().unwrap();
        let applied = lists.apply(Path::new("lists.toml"), text).map_err(|error| error.to_string())?;
        Ok(applied.iter().map(|applied| applied.change).collect())
    }

    const TWO: &str =
        "[news]\nkind = 'announcements'\naddress = 'news'\n[docs]\nkind = 'document-library'\naddress = 'docs'\n";

    #[test]
    fn applying_twice_changes_nothing_and_a_changed_line_changes_one_list() {
        let store = MemoryStore::default();
        assert_eq!(apply(&store, TWO), Ok(vec!["created", "created"]));
        assert_eq!(apply(&store, TWO), Ok(vec!["unchanged", "unchanged"]));
        assert_eq!(apply(&store, &TWO.replace("'docs'", "'papers'")), Ok(vec!["unchanged", "changed"]));
    }

    #[test]
    fn two_lists_may_swap_their_addresses_in_one_file() {
        let store = MemoryStore::default();
        apply(&store, TWO).unwrap();
        let swapped = TWO.replace("address = 'news'", "address = 'x'").replace("address = 'docs'", "address = 'news'");
        assert_eq!(apply(&store, &swapped.replace("'x'", "'docs'")), Ok(vec!["changed", "changed"]));
    }

    #[test]
    fn a_mistake_names_file_line_and_key_and_nothing_is_written() {
        for (text, message) in [
            (
                "[a]\nkind = 'blog'\naddress = 'a'\noverwite = true\n",
                "lists.toml:4: a list has no setting `overwite`; did you mean `overwrite`?",
            ),
            ("[a]\naddress = 'a'\n", "lists.toml:1: [a] lacks `kind`, for example kind = \"announcements\""),
            (
                "[a]\nkind = 'blog'\naddress = 'x'\n\n[b]\nkind = 'blog'\naddress = 'X'\n",
                "lists.toml:1: the address `x` belongs to list `b`; addresses are unique, whatever their case",
            ),
            ("x = 1\n", "lists.toml:1: `x` is not a table: write [x]"),
            ("[a]\nkind = 'survey'\n", "lists.toml:2: there is no kind `survey`"),
            ("[a]\nkind = \n", "lists.toml:2:"),
        ] {
            let store = MemoryStore::default();
            let error = apply(&store, text).unwrap_err();
            assert!(error.starts_with(message), "{error}");
            assert!(store.lists().unwrap().is_empty());
        }
    }
}
