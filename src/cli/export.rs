//! `mailmill export` and `mailmill cat`: everything that a list holds, for other programs and for people who leave.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};

use super::console::Console;
use super::desk::Desk;
use super::exit::{Exit, Failure};
use super::items;
use crate::engine::view;
use crate::model::item::{Attachment, Item};
use crate::model::list::List;
use crate::model::mail::BlobHash;
use crate::model::names;

/// Print all items of a list as JSON Lines, or write a library as a folder tree
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(after_help = "Examples:
  mailmill export news > news.jsonl
  mailmill export docs --to /srv/share/docs")]
pub struct Export {
    list: String,
    /// Write the files of the library into this folder, which must be empty or not exist
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

/// Print the raw bytes of an attachment, or of the original mail
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(after_help = "Examples:
  mailmill cat news 1 original > mail.eml     (lists with save_original = true)
  mailmill cat news 1 2 > second-attachment
  mailmill cat news 1 report.pdf > report.pdf")]
pub struct Cat {
    list: String,
    id: u64,
    /// `original`, the number of an attachment from 1 (unpacked files follow), its name, or `cid:` and its Content-ID [default: the only one there is]
    part: Option<String>,
}

impl Export {
    pub fn prepare(&mut self) -> Result<(), Failure> {
        if let Some(to) = &mut self.to {
            *to = std::path::absolute(&*to).map_err(|error| Failure::at(to, &error))?;
        }
        Ok(())
    }

    pub fn answer(&self, desk: &Desk, console: &mut Console) -> Result<Exit, Failure> {
        let list = desk.mill.lists().find(&self.list)?;
        if let Some(to) = &self.to {
            return write_tree(desk, &list, to, console);
        }
        let mut discussions = desk.mill.discussions(&list);
        items::each_item(desk, &list, |id, item| {
            console.json(&view::item(&list, Some(id), &item, discussions.place(id)?))?;
            Ok(true)
        })?;
        Ok(Exit::Good)
    }
}

fn write_tree(desk: &Desk, list: &List, to: &Path, console: &mut Console) -> Result<Exit, Failure> {
    if !list.kind.is_library() {
        let text = format!("list `{}` is {}, not a library: export it without --to", list.name, list.kind);
        return Err(Failure::Usage(text));
    }
    fs::create_dir_all(to).map_err(|error| Failure::at(to, &error))?;
    if fs::read_dir(to).map_err(|error| Failure::at(to, &error))?.next().is_some() {
        return Err(Failure::Usage(format!("{} is not empty; nothing was written", to.display())));
    }
    let mut folders = BTreeMap::<String, u64>::new();
    let files = desk.mill.store.files(list.id)?;
    // A library keeps a file and a folder of one name apart; a file system cannot: there the file gets a free name.
    let names_of_folders: HashSet<String> = files.iter().map(|file| names::fold(&file.folder)).collect();
    let in_root: HashSet<String> =
        files.iter().filter(|file| file.folder.is_empty()).map(|file| names::fold(&file.name)).collect();
    for mut file in files {
        if file.folder.is_empty() && names_of_folders.contains(&names::fold(&file.name)) {
            let taken =
                |name: &str| [&names_of_folders, &in_root].iter().any(|names| names.contains(&names::fold(name)));
            file.name = names::free(&file.name, taken);
        }
        let Some(newest) = file.versions.last() else { continue };
        // Both names are clean (`names::clean`): neither can lead out of the folder.
        let folder = if file.folder.is_empty() { to.to_owned() } else { to.join(&file.folder) };
        fs::create_dir_all(&folder).map_err(|error| Failure::at(&folder, &error))?;
        let path = folder.join(&file.name);
        let bytes = blob(desk, newest.blob)?;
        fs::File::create_new(&path)
            .and_then(|mut new| new.write_all(&bytes))
            .map_err(|error| Failure::at(&path, &error))?;
        *folders.entry(file.folder).or_default() += 1;
    }
    console.note(&format!("wrote {} files in {} folders", folders.values().sum::<u64>(), folders.len()))?;
    Ok(Exit::Good)
}

fn blob(desk: &Desk, hash: BlobHash) -> Result<Vec<u8>, Failure> {
    let missing = || Failure::Engine(format!("the store lacks the bytes of {hash}; run `mailmill verify`"));
    desk.mill.store.blob(hash)?.ok_or_else(missing)
}

impl Cat {
    pub fn answer(&self, desk: &Desk, console: &mut Console) -> Result<Exit, Failure> {
        let (list, item) = items::find(desk, &self.list, self.id)?;
        let file = match self.part.as_deref() {
            None => match item.attachments.as_slice() {
                [only] => Some(only),
                [] => item.original.as_ref(),
                _ => None,
            },
            Some("original") => item.original.as_ref(),
            Some(part) => pick(&item, part),
        };
        let Some(file) = file else {
            let names: Vec<&str> = item.attachments.iter().map(|file| file.name.as_str()).collect();
            let kept = if item.original.is_some() { "original, " } else { "" };
            let wanted = self.part.as_deref().unwrap_or("(none named)");
            return Err(Failure::Usage(format!(
                "item {} of `{}` has no part {wanted}; it has: {kept}{}",
                self.id,
                list.name,
                names.join(", ")
            )));
        };
        console.bytes(&blob(desk, file.blob)?)?;
        Ok(Exit::Good)
    }
}

/// By name first: a file may be called `2`.
fn pick<'i>(item: &'i Item, part: &str) -> Option<&'i Attachment> {
    let files: Vec<&Attachment> =
        item.attachments.iter().chain(item.extracted.iter().map(|extracted| &extracted.file)).collect();
    // RFC 2392: an HTML body names its images as `cid:` and the Content-ID.
    let content_id = part.strip_prefix("cid:").map(|id| id.trim_matches(['<', '>']));
    let named = |file: &&&Attachment| {
        file.name == part
            || file.path.as_deref() == Some(part)
            || file.original_name.as_deref() == Some(part)
            || (content_id.is_some() && file.content_id.as_deref() == content_id)
    };
    let numbered = || part.parse::<usize>().ok().and_then(|number| files.get(number.checked_sub(1)?));
    files.iter().find(named).or_else(numbered).copied()
}
