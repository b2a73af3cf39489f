//! Discussions as they are read: the members of one from wherever they lie, as a tree.

use std::collections::HashMap;

use super::Mill;
use super::view::ThreadView;
use crate::model::list::{ItemId, Kind, List};
use crate::model::thread::{self, Place};
use crate::store::StoreError;

/// Reads discussions of one list, each once.
pub struct Discussions<'m> {
    mill: &'m Mill,
    list: &'m List,
    /// By the number of the discussion as it is now.
    trees: HashMap<u64, HashMap<ItemId, ThreadView>>,
}

impl Mill {
    pub fn discussions<'m>(&'m self, list: &'m List) -> Discussions<'m> {
        Discussions { mill: self, list, trees: HashMap::new() }
    }

    /// The discussion of an item in reading order; empty when it is in none.
    pub fn discussion(&self, list: &List, item: ItemId) -> Result<Vec<Place>, StoreError> {
        match self.root_of(list, item)? {
            Some(root) => self.tree(list, root),
            None => Ok(Vec::new()),
        }
    }

    fn root_of(&self, list: &List, item: ItemId) -> Result<Option<u64>, StoreError> {
        let Some(mut id) = self.store.discussion_of(list.id, item)? else { return Ok(None) };
        while let Some(next) = self.store.discussion(list.id, id)?.and_then(|discussion| discussion.moved_to) {
            id = next;
        }
        Ok(Some(id))
    }

    fn tree(&self, list: &List, root: u64) -> Result<Vec<Place>, StoreError> {
        let mut members = Vec::new();
        let mut waiting = vec![root];
        while let Some(id) = waiting.pop() {
            members.extend(self.store.members(list.id, id)?);
            waiting
                .extend(self.store.discussion(list.id, id)?.map(|discussion| discussion.absorbed).unwrap_or_default());
        }
        Ok(thread::tree(&members))
    }
}

impl Discussions<'_> {
    /// Where an item stands; none outside discussion boards.
    pub fn place(&mut self, item: ItemId) -> Result<Option<ThreadView>, StoreError> {
        if self.list.kind != Kind::DiscussionBoard {
            return Ok(None);
        }
        let Some(root) = self.mill.root_of(self.list, item)? else { return Ok(None) };
        if !self.trees.contains_key(&root) {
            let places = self.mill.tree(self.list, root)?;
            let top = places.first().map_or(item, |place| place.item);
            let view = |place: &Place| ThreadView { root: top.0, parent: place.parent.map(|parent| parent.0) };
            self.trees.insert(root, places.iter().map(|place| (place.item, view(place))).collect());
        }
        Ok(self.trees.get(&root).and_then(|tree| tree.get(&item)).copied())
    }
}
