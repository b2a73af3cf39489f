//! Puts the events of a mail into a calendar: one item for each UID, whatever mails are about it. What counts of them is decided
//! by `calendar::apply`; here the item is found, changed and written.

use std::collections::HashMap;

use super::GroupBuilder;
use crate::calendar::{Series, Update, Verdict, apply};
use crate::model::item::Item;
use crate::model::list::{ItemId, ListId};
use crate::model::names;
use crate::model::plan::{Decided, Delivery, Plan};
use crate::store::{Counter, StoreError, Write};

/// So many of the mails that changed an item are named in it, the newest.
const UPDATES_NAMED: usize = 100;

/// Items of calendars that the group being built has changed.
#[derive(Default)]
pub(super) struct Known {
    events: HashMap<(ListId, String), ItemId>,
    items: HashMap<(ListId, ItemId), Item>,
}

impl GroupBuilder<'_> {
    /// Answers the item that stands for the mail: that of its first event.
    pub(super) fn file_events(
        &mut self,
        plan: &Plan,
        delivery: &mut Delivery,
        mail: Item,
        tally: &mut Decided,
    ) -> Result<ItemId, StoreError> {
        let list = delivery.list;
        let mut first = None;
        for (uid, updates) in by_uid(std::mem::take(&mut delivery.updates)) {
            // The text and the attachments of the mail belong to its first event alone.
            let bare = first.is_some();
            let mail = if bare {
                Item { attachments: Vec::new(), extracted: Vec::new(), original: None, ..mail.clone() }
            } else {
                mail.clone()
            };
            let id = self.file_event(plan, list, uid, &updates, mail, tally)?;
            first.get_or_insert(id);
        }
        match first {
            Some(id) => Ok(id),
            None => self.new_event_item(plan, list, mail, tally),
        }
    }

    fn file_event(
        &mut self,
        plan: &Plan,
        list: ListId,
        uid: String,
        updates: &[Update],
        mail: Item,
        tally: &mut Decided,
    ) -> Result<ItemId, StoreError> {
        let known = match self.events.events.get(&(list, uid.clone())) {
            Some(id) => Some(*id),
            None => self.store.event(list, &uid)?,
        };
        let existing = match known {
            Some(id) => self.event_item(list, id)?.map(|item| (id, item)),
            None => None,
        };
        let Some((id, mut item)) = existing else {
            let mut item = mail;
            take_updates(&mut item, updates);
            let id = self.new_event_item(plan, list, item.clone(), tally)?;
            self.events.items.insert((list, id), item);
            self.events.events.insert((list, uid.clone()), id);
            self.group.writes.push(Write::Event(list, uid, id));
            return Ok(id);
        };
        let changed = take_updates(&mut item, updates);
        item.updates.push(mail.mail_id);
        let surplus = item.updates.len().saturating_sub(UPDATES_NAMED);
        item.updates.drain(..surplus);
        if changed {
            self.take_content(plan, &mut item, mail, tally)?;
        }
        self.events.items.insert((list, id), item.clone());
        self.group.writes.push(Write::Item(list, id, Box::new(item), None));
        Ok(id)
    }

    /// An accepted message replaces the text; what it brings along is added to what is there.
    fn take_content(
        &mut self,
        plan: &Plan,
        item: &mut Item,
        mail: Item,
        tally: &mut Decided,
    ) -> Result<(), StoreError> {
        item.body_text = mail.body_text;
        item.body_html = mail.body_html;
        for mut file in mail.attachments {
            // The same invitation comes again with each update: bytes that are there already are not added twice.
            if item.attachments.iter().any(|known| known.blob == file.blob) {
                continue;
            }
            self.refer(&file, &plan.blobs)?;
            let taken = |name: &str| item.attachments.iter().any(|known| names::fold(&known.name) == names::fold(name));
            file.name = names::free(&file.name, taken);
            tally.attachments += 1;
            item.attachments.push(file);
        }
        Ok(())
    }

    fn event_item(&self, list: ListId, id: ItemId) -> Result<Option<Item>, StoreError> {
        match self.events.items.get(&(list, id)) {
            Some(item) => Ok(Some(item.clone())),
            None => self.store.item(list, id),
        }
    }

    fn new_event_item(
        &mut self,
        plan: &Plan,
        list: ListId,
        item: Item,
        tally: &mut Decided,
    ) -> Result<ItemId, StoreError> {
        let id = ItemId(self.next(Counter::Item(list))?);
        self.write_item(plan, list, id, (item, None), tally)?;
        Ok(id)
    }
}

/// The updates of each UID, in the order in which the mail names them.
fn by_uid(updates: Vec<Update>) -> Vec<(String, Vec<Update>)> {
    let mut found: Vec<(String, Vec<Update>)> = Vec::new();
    let mut at = HashMap::new();
    for update in updates {
        let index = *at.entry(update.uid.clone()).or_insert_with(|| {
            found.push((update.uid.clone(), Vec::new()));
            found.len() - 1
        });
        if let Some((_, group)) = found.get_mut(index) {
            group.push(update);
        }
    }
    found
}

/// Takes the updates into the series of the item; true when the event is another now. What did not count is a defect.
fn take_updates(item: &mut Item, updates: &[Update]) -> bool {
    let mut changed = false;
    let mut series: Option<Series> = item.series.take().map(|series| *series);
    for update in updates {
        let (next, verdict) = apply(series.take(), update);
        series = next;
        match verdict {
            Verdict::Created | Verdict::Updated | Verdict::Cancelled => changed = true,
            Verdict::AttendeeUpdated | Verdict::CounterNoted | Verdict::Remembered => {}
            Verdict::Stale(why) => note(item, format!("calendar-stale: {why}")),
            Verdict::Ignored(why) => note(item, format!("calendar-ignored: {why}")),
        }
    }
    if let Some(title) = series.as_ref().and_then(Series::event).and_then(|event| event.title.clone()) {
        item.title = Some(title);
    }
    item.series = series.map(Box::new);
    changed
}

/// A defect is told once, however often it happens.
fn note(item: &mut Item, defect: String) {
    if !item.defects.contains(&defect) {
        item.defects.push(defect);
    }
}
