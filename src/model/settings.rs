//! What an administrator decides for one list: the incoming e-mail settings of CONTRACT section Lists.
//! Written and read as TOML values; an unknown key names its nearest neighbour.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::units;

/// Where the files of a library go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "lowercase")]
#[cbor(index_only)]
pub enum Folders {
    #[default]
    #[n(0)]
    Root,
    #[n(1)]
    Sender,
    #[n(2)]
    Subject,
}

/// What becomes of images that a mail shows within its text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "lowercase")]
#[cbor(index_only)]
pub enum Inline {
    /// They are kept like other attachments.
    #[default]
    #[n(0)]
    Keep,
    /// They are left out, and a defect of the item says so.
    #[n(1)]
    Skip,
}

/// Who may send to a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "lowercase")]
#[cbor(index_only)]
pub enum Senders {
    #[n(0)]
    Any,
    #[default]
    #[n(1)]
    Members,
}

/// Whether the author must be known to be who the mail says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "lowercase")]
#[cbor(index_only)]
pub enum Verified {
    #[default]
    #[n(0)]
    Off,
    /// The domain of From is aligned with a result `pass` of a trusted server.
    #[n(1)]
    Pass,
}

/// A number of bytes, written `25MiB` or as a plain number; 0 means no limit of the list's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Size(#[n(0)] pub u64);

impl Size {
    pub const fn is_exceeded_by(self, bytes: u64) -> bool {
        self.0 != 0 && bytes > self.0
    }
}

impl Serialize for Size {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&units::format_size(self.0))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(bytes) => Ok(Self(bytes)),
            Written::Text(text) => units::parse_size(&text).map(Self).map_err(serde::de::Error::custom),
        }
    }
}

/// The settings of one list, with their defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(default, deny_unknown_fields)]
pub struct ListSettings {
    /// Whether the list receives mail at all.
    #[n(0)]
    pub receive: bool,
    /// The local part, or `local@domain` to be found under this domain only.
    #[n(1)]
    pub address: String,
    #[n(2)]
    pub aliases: Vec<String>,
    /// Keep attachments.
    #[n(3)]
    pub attachments: bool,
    #[n(4)]
    pub folders: Folders,
    /// A file of the same name: a new version of it (true), or a free name (false).
    #[n(5)]
    pub overwrite: bool,
    #[n(6)]
    pub save_original: bool,
    #[n(7)]
    pub save_meetings: bool,
    #[n(8)]
    pub senders: Senders,
    /// Addresses, `@domain`, `@*.domain`, or names of groups in the configuration.
    #[n(9)]
    pub members: Vec<String>,
    #[n(10)]
    pub owners: Vec<String>,
    /// Accept automatic mail (RFC 3834).
    #[n(11)]
    pub automatic: bool,
    #[n(12)]
    pub max_size: Size,
    #[n(13)]
    pub max_attachment_size: Size,
    /// File name endings without the dot, or media types.
    #[n(14)]
    pub blocked_types: Vec<String>,
    #[n(15)]
    pub inline: Inline,
    /// Discussion boards: a reply that names no other mail belongs to a discussion of its topic that is at most so many days away.
    #[n(16)]
    pub topic_days: u32,
    /// Calendars: mail without an invitation becomes an event at its date.
    #[n(17)]
    pub mail_as_event: bool,
    /// A command and its arguments that is asked before an item is stored, and may refuse it.
    #[n(18)]
    pub before: Vec<String>,
    /// A command and its arguments that is told after an item was stored.
    #[n(19)]
    pub after: Vec<String>,
    /// A URL that every new item is posted to.
    #[n(20)]
    pub webhook: String,
    /// `pass`: mail whose From nobody who is trusted has verified is refused as `sender-forged`.
    #[n(21)]
    #[cbor(default)]
    pub senders_verified: Verified,
}

impl Default for ListSettings {
    fn default() -> Self {
        Self {
            receive: true,
            address: String::new(),
            aliases: Vec::new(),
            attachments: true,
            folders: Folders::Root,
            overwrite: false,
            save_original: false,
            save_meetings: false,
            senders: Senders::Members,
            members: Vec::new(),
            owners: Vec::new(),
            automatic: true,
            max_size: Size(0),
            max_attachment_size: Size(0),
            blocked_types: Vec::new(),
            inline: Inline::Keep,
            topic_days: 30,
            mail_as_event: false,
            before: Vec::new(),
            after: Vec::new(),
            webhook: String::new(),
            senders_verified: Verified::Off,
        }
    }
}

/// A setting that cannot be set, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    #[error("`{0}` is not KEY=VALUE, for example senders=any")]
    NotAnAssignment(String),
    #[error("a list has no setting `{key}`; did you mean `{nearest}`?")]
    Unknown { key: String, nearest: String },
    #[error("setting `{key}`: {cause}")]
    Wrong { key: String, cause: String },
}

impl ListSettings {
    /// Sets `KEY=VALUE`. The value is TOML; what is not TOML is a bare string.
    pub fn assign(&mut self, assignment: &str) -> Result<(), SettingError> {
        let (key, value) =
            assignment.split_once('=').ok_or_else(|| SettingError::NotAnAssignment(assignment.to_owned()))?;
        let key = key.trim();
        let bare = || toml::Value::String(value.trim().to_owned());
        let parsed = format!("value = {value}").parse::<toml::Table>().ok().filter(|table| table.len() == 1);
        match parsed.and_then(|mut table| table.remove("value")) {
            // `address=2025` is a number in TOML and a word to whoever types it.
            Some(value) if !value.is_str() => {
                self.set(key, value).or_else(|error| self.set(key, bare()).map_err(|_| error))
            }
            Some(value) => self.set(key, value),
            None => self.set(key, bare()),
        }
    }

    /// Sets one key to a TOML value.
    pub fn set(&mut self, key: &str, value: toml::Value) -> Result<(), SettingError> {
        let mut table = self.to_table();
        let Some(slot) = table.get_mut(key) else {
            let nearest = nearest(key, table.keys().map(String::as_str));
            return Err(SettingError::Unknown { key: key.to_owned(), nearest });
        };
        *slot = value;
        *self = table.try_into().map_err(|error: toml::de::Error| SettingError::Wrong {
            key: key.to_owned(),
            cause: one_line(error.message()),
        })?;
        Ok(())
    }

    pub fn to_table(&self) -> toml::Table {
        // Plain values under plain keys: this cannot fail, and a test would show it if it did.
        toml::Table::try_from(self).unwrap_or_default()
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The known word that looks most like `word`.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    known
        .max_by(|a, b| strsim::jaro_winkler(word, a).total_cmp(&strsim::jaro_winkler(word, b)))
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_toml_and_bare_words_are_strings() {
        let mut settings = ListSettings::default();
        for assignment in [
            "senders=any",
            "members=['a@b.example', \"@c.example\"]",
            "overwrite=true",
            "folders=subject",
            "max_size=25MiB",
            "max_attachment_size=1000",
            "address=news",
        ] {
            settings.assign(assignment).unwrap();
        }
        assert_eq!(settings.senders, Senders::Any);
        assert_eq!(settings.members, ["a@b.example", "@c.example"]);
        assert!(settings.overwrite);
        assert_eq!(settings.folders, Folders::Subject);
        assert_eq!(settings.max_size, Size(25 << 20));
        assert_eq!(settings.max_attachment_size, Size(1000));
        assert_eq!(settings.address, "news");
    }

    #[test]
    fn an_unknown_setting_names_its_neighbour() {
        let error = ListSettings::default().assign("overwite=true").unwrap_err();
        assert_eq!(error.to_string(), "a list has no setting `overwite`; did you mean `overwrite`?");
    }

    #[test]
    fn a_wrong_value_says_which_setting_and_why() {
        let error = ListSettings::default().assign("senders=everybody").unwrap_err();
        assert_eq!(error.to_string(), "setting `senders`: unknown variant `everybody`, expected `any` or `members`");
        assert!(ListSettings::default().assign("overwrite=perhaps").is_err());
        assert!(ListSettings::default().assign("max_size=9 parsecs").is_err());
    }

    #[test]
    fn settings_printed_as_toml_read_back_equal() {
        let mut settings = ListSettings::default();
        settings.assign("max_size=3MiB").unwrap();
        settings.assign("aliases=[\"x\"]").unwrap();
        let back: ListSettings = toml::from_str(&settings.to_table().to_string()).unwrap();
        assert_eq!(back, settings);
    }
}
