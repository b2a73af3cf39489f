//! A list: what it is called, what kind it is, how it treats mail.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::settings::ListSettings;

/// Never used again once its list is deleted, so that the ledger can rely on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct ListId(#[n(0)] pub u32);

/// The running number of an item within its list, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct ItemId(#[n(0)] pub u64);

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
pub enum Kind {
    #[n(0)]
    DocumentLibrary,
    #[n(1)]
    PictureLibrary,
    #[n(2)]
    FormLibrary,
    #[n(3)]
    Announcements,
    #[n(4)]
    Calendar,
    #[n(5)]
    DiscussionBoard,
    #[n(6)]
    Blog,
}

impl Kind {
    pub const ALL: [Self; 7] = [
        Self::DocumentLibrary,
        Self::PictureLibrary,
        Self::FormLibrary,
        Self::Announcements,
        Self::Calendar,
        Self::DiscussionBoard,
        Self::Blog,
    ];

    pub const fn word(self) -> &'static str {
        match self {
            Self::DocumentLibrary => "document-library",
            Self::PictureLibrary => "picture-library",
            Self::FormLibrary => "form-library",
            Self::Announcements => "announcements",
            Self::Calendar => "calendar",
            Self::DiscussionBoard => "discussion-board",
            Self::Blog => "blog",
        }
    }

    /// Attachments become files in a folder tree, rather than things that hang on an item.
    pub const fn is_library(self) -> bool {
        matches!(self, Self::DocumentLibrary | Self::PictureLibrary | Self::FormLibrary)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// There is no such kind of list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no kind `{0}`; kinds: document-library, picture-library, form-library, announcements, calendar, \
     discussion-board, blog"
)]
pub struct UnknownKind(String);

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(word: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.word() == word).ok_or_else(|| UnknownKind(word.to_owned()))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct List {
    #[n(0)]
    pub id: ListId,
    #[n(1)]
    pub name: String,
    #[n(2)]
    pub kind: Kind,
    #[n(3)]
    pub settings: ListSettings,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_reads_back_from_its_word() {
        for kind in Kind::ALL {
            assert_eq!(kind.word().parse(), Ok(kind));
        }
        assert!("survey".parse::<Kind>().is_err());
    }
}
