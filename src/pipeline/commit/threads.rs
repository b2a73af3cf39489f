//! Puts a mail of a discussion board into its discussion: joins the discussions that it connects.
//!
//! A discussion is never rewritten as a whole. Its members lie under the number it had when they came; when two are joined, the
//! smaller one says where it went (`moved_to`) and the larger one what it took (`absorbed`), so that a mail costs a few writes
//! however long the discussion is.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::GroupBuilder;
use crate::model::item::Discussion;
use crate::model::list::{ItemId, ListId};
use crate::model::thread::{Facts, Key};
use crate::store::{Counter, StoreError, TopicEntry, TopicQuery, Write};

const DAY: u64 = 86_400;

/// What the group being built knows of discussions before the store does.
#[derive(Default)]
pub(super) struct Known {
    discussions: HashMap<(ListId, u64), Discussion>,
    keys: HashMap<(ListId, Key), u64>,
    topics: BTreeMap<(ListId, Key, bool, i64, ItemId), u64>,
}

impl GroupBuilder<'_> {
    pub(super) fn join(&mut self, list: ListId, facts: Facts, topic_days: u32) -> Result<(), StoreError> {
        let connected = self.connected(list, &facts, topic_days)?;
        let target = self.unite(list, &connected)?;
        for key in facts.keys() {
            // A key that another discussion was filed under leads here all the same, through what it moved to.
            if self.lookup_key(list, key)?.is_none() {
                self.known.keys.insert((list, key), target);
                self.group.writes.push(Write::ThreadKey(list, key, target));
            }
        }
        if let Some(topic) = facts.topic {
            self.known.topics.insert((list, topic, facts.by_topic, facts.time, facts.item), target);
            let entry = TopicEntry { time: facts.time, item: facts.item, discussion: target };
            self.group.writes.push(Write::Topic(list, topic, facts.by_topic, entry));
        }
        self.group.writes.push(Write::Member(list, target, Box::new(facts)));
        Ok(())
    }

    /// The discussions, as they are now, that the mail belongs to.
    fn connected(&self, list: ListId, facts: &Facts, topic_days: u32) -> Result<BTreeSet<u64>, StoreError> {
        let mut found = BTreeSet::new();
        for key in facts.keys() {
            if let Some(discussion) = self.lookup_key(list, key)? {
                found.insert(self.root(list, discussion)?);
            }
        }
        let Some((topic, range)) = facts.topic_range(u64::from(topic_days) * DAY) else { return Ok(found) };
        for (latest_first, range) in [(true, *range.start()..=facts.time), (false, facts.time..=*range.end())] {
            let query = TopicQuery { topic, by_topic: true, from: *range.start(), to: *range.end(), latest_first };
            if let Some(nearest) = self.nearest(list, query)? {
                // All of this topic on this side of us lies within its window too, and was joined to it already.
                found.insert(self.root(list, nearest.discussion)?);
            } else if facts.by_topic {
                let query = TopicQuery { by_topic: false, ..query };
                for entry in self.topics(list, query)? {
                    found.insert(self.root(list, entry.discussion)?);
                }
            }
        }
        Ok(found)
    }

    /// Joins discussions into one, or makes a new one when there is none.
    fn unite(&mut self, list: ListId, connected: &BTreeSet<u64>) -> Result<u64, StoreError> {
        let mut all = Vec::with_capacity(connected.len());
        for id in connected {
            all.push((*id, self.discussion(list, *id)?));
        }
        // The larger takes the smaller: what moved is then at most log n moves away.
        let largest =
            all.iter().max_by_key(|(id, discussion)| (discussion.size, std::cmp::Reverse(*id))).map(|(id, _)| *id);
        let Some(target) = largest else {
            let id = self.next(Counter::Discussion(list))?;
            self.keep(list, id, Discussion { size: 1, ..Discussion::default() });
            return Ok(id);
        };
        let mut united = Discussion::default();
        for (id, mut discussion) in all {
            if id == target {
                united.absorbed.append(&mut discussion.absorbed);
                united.size += discussion.size;
                continue;
            }
            united.absorbed.push(id);
            united.size += discussion.size;
            self.keep(list, id, Discussion { moved_to: Some(target), ..discussion });
        }
        united.size += 1;
        self.keep(list, target, united);
        Ok(target)
    }

    fn keep(&mut self, list: ListId, id: u64, discussion: Discussion) {
        self.known.discussions.insert((list, id), discussion.clone());
        self.group.writes.push(Write::Discussion(list, id, Box::new(discussion)));
    }

    fn root(&self, list: ListId, mut id: u64) -> Result<u64, StoreError> {
        while let Some(next) = self.discussion(list, id)?.moved_to {
            id = next;
        }
        Ok(id)
    }

    fn discussion(&self, list: ListId, id: u64) -> Result<Discussion, StoreError> {
        match self.known.discussions.get(&(list, id)) {
            Some(discussion) => Ok(discussion.clone()),
            None => Ok(self.store.discussion(list, id)?.unwrap_or_default()),
        }
    }

    fn lookup_key(&self, list: ListId, key: Key) -> Result<Option<u64>, StoreError> {
        match self.known.keys.get(&(list, key)) {
            Some(discussion) => Ok(Some(*discussion)),
            None => self.store.thread_key(list, key),
        }
    }

    /// The nearest entry of a query, in the group or in the store.
    fn nearest(&self, list: ListId, query: TopicQuery) -> Result<Option<TopicEntry>, StoreError> {
        let pending = self.pending(list, query);
        let stored = self.store.topics(list, query, 1)?.into_iter();
        let both = pending.chain(stored);
        Ok(if query.latest_first { both.max_by_key(|entry| entry.time) } else { both.min_by_key(|entry| entry.time) })
    }

    fn topics(&self, list: ListId, query: TopicQuery) -> Result<Vec<TopicEntry>, StoreError> {
        let stored = self.store.topics(list, query, usize::MAX)?;
        Ok(self.pending(list, query).chain(stored).collect())
    }

    fn pending(&self, list: ListId, query: TopicQuery) -> impl Iterator<Item = TopicEntry> {
        let TopicQuery { topic, by_topic, from, to, .. } = query;
        let range = (list, topic, by_topic, from, ItemId(0))..=(list, topic, by_topic, to, ItemId(u64::MAX));
        let entries = self.known.topics.range(range);
        entries.map(|((_, _, _, time, item), discussion)| TopicEntry {
            time: *time,
            item: *item,
            discussion: *discussion,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::mail::MailId;
    use crate::model::thread::{Header, related};
    use crate::store::{ListStore, MemoryStore};

    const LIST: ListId = ListId(1);
    const DAYS: u32 = 2;

    /// A mail of a small world, so that mails meet often: own id, reference, topic, day, says that it is a reply.
    type Mail = (u8, Option<u8>, u8, u8, bool);

    fn facts(number: usize, mail: Mail) -> Facts {
        let (own, reference, topic, day, reply) = mail;
        let id = |n: u8| format!("{n}@x.example");
        let own = id(own);
        let references: Vec<String> = reference.map(id).into_iter().collect();
        let subject = format!("{}topic {topic}", if reply { "Re: " } else { "" });
        let header = Header {
            message_id: Some(&own),
            references: &references,
            subject: Some(&subject),
            date: Some(i64::from(day) * 86_400),
            ..Header::default()
        };
        Facts::of(ItemId(number as u64), MailId::of(&[u8::try_from(number).unwrap()]), &header, 0)
    }

    /// Which mails end in one discussion, after they came in this order in groups of three.
    fn components(mails: &[Facts]) -> Vec<Vec<u64>> {
        let store = MemoryStore::default();
        for group in mails.chunks(3) {
            let mut builder = GroupBuilder::new(&store, 0);
            group.iter().for_each(|facts| builder.join(LIST, facts.clone(), DAYS).unwrap());
            store.commit(builder.finish().group).unwrap();
        }
        let mut roots = BTreeMap::<u64, Vec<u64>>::new();
        for facts in mails {
            let mut id = store.discussion_of(LIST, facts.item).unwrap().unwrap();
            while let Some(next) = store.discussion(LIST, id).unwrap().unwrap().moved_to {
                id = next;
            }
            roots.entry(id).or_default().push(facts.item.0);
        }
        let mut found: Vec<Vec<u64>> = roots.into_values().collect();
        found.iter_mut().for_each(|items| items.sort_unstable());
        found.sort();
        found
    }

    /// The same by comparing every pair.
    fn by_the_definition(mails: &[Facts]) -> Vec<Vec<u64>> {
        let mut groups: Vec<Vec<&Facts>> = Vec::new();
        for facts in mails {
            let window = u64::from(DAYS) * DAY;
            let (joined, mut apart): (Vec<_>, Vec<_>) =
                groups.into_iter().partition(|group| group.iter().any(|other| related(facts, other, window)));
            apart.push(joined.into_iter().flatten().chain([facts]).collect());
            groups = apart;
        }
        let items = |group: Vec<&Facts>| {
            let mut items: Vec<u64> = group.iter().map(|facts| facts.item.0).collect();
            items.sort_unstable();
            items
        };
        let mut found: Vec<Vec<u64>> = groups.into_iter().map(items).collect();
        found.sort();
        found
    }

    proptest! {
        #[test]
        fn any_order_of_arrival_gives_the_discussions_of_the_definition(
            mails in prop::collection::vec((0_u8..20, prop::option::of(0_u8..20), 0_u8..3, 0_u8..12, any::<bool>()), 1..16),
            seed in any::<u64>(),
        ) {
            let mails: Vec<Facts> = mails.into_iter().enumerate().map(|(number, mail)| facts(number + 1, mail)).collect();
            let expected = by_the_definition(&mails);
            prop_assert_eq!(&components(&mails), &expected);
            let mut shuffled = mails;
            shuffled.sort_by_key(|facts| MailId::of(&[facts.item.0.to_be_bytes(), seed.to_be_bytes()].concat()));
            prop_assert_eq!(&components(&shuffled), &expected);
        }
    }
}
