//! `mailmill items` and `mailmill show`: reading what a list holds.

use std::borrow::Cow;
use std::sync::Arc;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::console::{Console, column, plain};
use super::desk::Desk;
use super::exit::{Exit, Failure};
use crate::engine::view;
use crate::html;
use crate::model::item::Item;
use crate::model::list::{ItemId, List};
use crate::model::mail::Authentication;
use crate::model::units;

/// List the items of a list
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(after_help = "Example: mailmill items news --json --limit 10")]
pub struct Items {
    list: String,
    /// One JSON object a line, as `export` prints them
    #[arg(long)]
    json: bool,
    /// At most so many, from the first on
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// Show one item
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(after_help = "Examples:
  mailmill show news 1
  mailmill show news 1 --html > page.html     (`--json` has the HTML as it came)")]
pub struct Show {
    list: String,
    /// The number of the item, as `mailmill items` shows it
    id: u64,
    /// One JSON object, as `export` prints it
    #[arg(long)]
    json: bool,
    /// The body as a page for a browser: sanitised, without scripts, forms and anything that would be fetched from elsewhere
    #[arg(long, conflicts_with = "json")]
    html: bool,
}

/// So many items are read at a time.
const PAGE: usize = 200;

/// Hands all items of a list to `each`, in order, until it answers false.
pub fn each_item(
    desk: &Desk,
    list: &List,
    mut each: impl FnMut(ItemId, Item) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let mut after = ItemId(0);
    loop {
        let page = desk.mill.store.items(list.id, after, PAGE)?;
        let Some((newest, _)) = page.last() else { return Ok(()) };
        after = *newest;
        for (id, item) in page {
            if !each(id, item)? {
                return Ok(());
            }
        }
    }
}

impl Items {
    pub fn answer(&self, desk: &Desk, console: &mut Console) -> Result<Exit, Failure> {
        let list = desk.mill.lists().find(&self.list)?;
        let mut discussions = desk.mill.discussions(&list);
        let mut left = self.limit.unwrap_or(usize::MAX);
        each_item(desk, &list, |id, item| {
            if left == 0 {
                return Ok(false);
            }
            left -= 1;
            if self.json {
                console.json(&view::item(&list, Some(id), &item, discussions.place(id)?))?;
            } else {
                console.line(&row(id, &item))?;
            }
            Ok(true)
        })?;
        Ok(Exit::Good)
    }
}

fn row(id: ItemId, item: &Item) -> String {
    let date = item.date.unwrap_or(item.received);
    let date = view::time(date).map_or_else(|| "-".to_owned(), |time| time.chars().take(16).collect());
    let from = item.from.as_ref().map_or("", |from| &from.address);
    let files =
        if item.attachments.is_empty() { String::new() } else { format!("  [{} files]", item.attachments.len()) };
    format!(
        "{:>6}  {date}  {:<28}  {}{files}",
        id.0,
        column(from, 28),
        column(item.title.as_deref().unwrap_or("(no subject)"), 60)
    )
}

/// An item, or the sentence that says why not.
pub fn find(desk: &Desk, list: &str, id: u64) -> Result<(Arc<List>, Item), Failure> {
    let list = desk.mill.lists().find(list)?;
    let item = desk.mill.store.item(list.id, ItemId(id))?;
    let missing =
        || Failure::Usage(format!("list `{}` has no item {id}; see `mailmill items {}`", list.name, list.name));
    let item = item.ok_or_else(missing)?;
    Ok((list, item))
}

/// The body for a browser; text is shown as text.
fn page(item: &Item) -> String {
    let title = item.title.as_deref().unwrap_or("(no subject)");
    let text = || html::of_text(item.body_text.as_deref().unwrap_or_default());
    html::page(title, &item.body_html.clone().unwrap_or_else(text))
}

/// `yes, by mx.example (spf pass a.example, dkim none)`.
fn verified(found: &Authentication) -> String {
    let word = if found.aligned { "yes" } else { "no" };
    let methods = [("spf", found.spf.as_ref()), ("dmarc", found.dmarc.as_ref())].into_iter();
    let methods = methods.chain(found.dkim.iter().map(|result| ("dkim", Some(result))));
    let results: Vec<String> = methods
        .filter_map(|(method, result)| Some((method, result?)))
        .map(|(method, result)| format!("{method} {} {}", result.result, result.domain.as_deref().unwrap_or("-")))
        .collect();
    format!("{word}, by {} ({})", found.authserv_id, results.join(", "))
}

impl Show {
    pub fn answer(&self, desk: &Desk, console: &mut Console) -> Result<Exit, Failure> {
        let (list, item) = find(desk, &self.list, self.id)?;
        if self.json {
            let thread = desk.mill.discussions(&list).place(ItemId(self.id))?;
            console.json(&view::item(&list, Some(ItemId(self.id)), &item, thread))?;
            return Ok(Exit::Good);
        }
        if self.html {
            console.bytes(page(&item).as_bytes())?;
            return Ok(Exit::Good);
        }
        let from = item.from.as_ref().map(|from| match &from.name {
            Some(name) => format!("{name} <{}>", from.address),
            None => from.address.clone(),
        });
        let fields = [
            ("Title", item.title.clone()),
            ("From", from),
            ("To", Some(item.to.join(", ")).filter(|to| !to.is_empty())),
            ("Cc", Some(item.cc.join(", ")).filter(|cc| !cc.is_empty())),
            ("Date", item.date.and_then(view::time)),
            ("Sender", item.sender.clone()),
            ("Created by", Some(item.created_by.clone())),
            ("Verified", item.authentication.as_ref().map(verified)),
            ("Message-ID", item.message_id.clone()),
            ("Mail", Some(item.mail_id.to_string())),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                console.line(&format!("{name:<11} {}", plain(&value)))?;
            }
        }
        for (number, file) in (1..).zip(&item.attachments) {
            let place = file.path.as_deref().unwrap_or(&file.name);
            let size = units::about(file.size);
            console.line(&plain(&format!("File {number:<6} {place} ({}, {size})", file.content_type)))?;
        }
        for defect in &item.defects {
            console.line(&format!("Defect      {}", plain(defect)))?;
        }
        self.show_discussion(desk, &list, console)?;
        let body = match (&item.body_text, &item.body_html) {
            (Some(text), _) => Cow::Borrowed(text.as_str()),
            (None, Some(html)) => Cow::Owned(html::text(html)),
            (None, None) => Cow::default(),
        };
        console.line("")?;
        for line in body.lines() {
            console.line(&plain(line))?;
        }
        Ok(Exit::Good)
    }

    /// The discussion that the item belongs to, as a tree.
    fn show_discussion(&self, desk: &Desk, list: &List, console: &mut Console) -> Result<(), Failure> {
        let places = desk.mill.discussion(list, ItemId(self.id))?;
        if places.len() < 2 {
            return Ok(());
        }
        console.line("")?;
        for place in places {
            let Some(item) = desk.mill.store.item(list.id, place.item)? else { continue };
            let here = if place.item.0 == self.id { ">" } else { " " };
            // Deep answers are not pushed off the screen.
            let indent = "  ".repeat(place.depth.min(20) as usize);
            let from = item.from.as_ref().map_or("", |from| &from.address);
            let title = column(item.title.as_deref().unwrap_or("(no subject)"), 60);
            console.line(&format!("{here} {indent}{} {title} ({})", place.item, column(from, 40)))?;
        }
        Ok(())
    }
}
