//! A mail as the pipeline sees it: who sent it to whom, what its header says, and where its parts lie in the file.
//! Never decodes anything and never copies a part: `Mail<'r>` borrows from the bytes that were read and dies on the worker that read them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sha2::{Digest, Sha256};

/// BLAKE3-256 of a file's bytes, envelope lines included: the same bytes are the same mail, whatever the file is called.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct MailId(#[n(0)] Hash256);

/// SHA-256 (FIPS 180-4) of a blob's bytes: an attachment or an original is stored once, however many items name it. People are shown
/// the SHA-256 of an attachment in any case, and to hash it twice cost 5 % of mixed mail.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct BlobHash(#[n(0)] Hash256);

/// A blob's bytes, shared by whoever writes them. As they were decoded: an `Arc<[u8]>` would copy them once more.
pub type BlobBytes = Arc<Vec<u8>>;

/// 32 bytes that came out of a hash function, written as 64 hexadecimal digits for people and as a byte string in the store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash256(pub [u8; 32]);

impl Hash256 {
    pub fn blake3(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    pub fn sha256(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl<C> minicbor::Encode<C> for Hash256 {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.bytes(&self.0)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Hash256 {
    fn decode(decoder: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        decoder.bytes()?.try_into().map(Self).map_err(|_| minicbor::decode::Error::message("a hash has 32 bytes"))
    }
}

macro_rules! hash_word {
    ($word:ident, $hash:ident) => {
        impl $word {
            pub fn of(bytes: &[u8]) -> Self {
                Self(Hash256::$hash(bytes))
            }

            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(Hash256(bytes))
            }

            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0.0
            }
        }

        impl fmt::Display for $word {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0.0))
            }
        }

        impl fmt::Debug for $word {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($word))
            }
        }

        impl FromStr for $word {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                let mut bytes = [0; 32];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| NotAnId)?;
                Ok(Self::from_bytes(bytes))
            }
        }
    };
}

hash_word!(MailId, blake3);
hash_word!(BlobHash, sha256);

/// The text is not an id of the wanted kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id")]
pub struct NotAnId;

/// Names one claim of one server for ever: the number of the batch that made it and a running number within it.
/// Batch numbers are made durable before the first claim of a batch, so a claim id is never used twice, whatever the clock does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode)]
pub struct ClaimId {
    #[n(0)]
    pub batch: u64,
    #[n(1)]
    pub number: u64,
}

impl fmt::Display for ClaimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.batch, self.number)
    }
}

impl FromStr for ClaimId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let (batch, number) = text.split_once('-').ok_or(NotAnId)?;
        let digits = |word: &str| {
            // No leading zero: two spellings of one id would be two files of one claim.
            let zeros = word.len() > 1 && word.starts_with('0');
            let plain = !word.is_empty() && !zeros && word.bytes().all(|b| b.is_ascii_digit());
            if plain { word.parse().map_err(|_| NotAnId) } else { Err(NotAnId) }
        };
        Ok(Self { batch: digits(batch)?, number: digits(number)? })
    }
}

/// A display name and an addr-spec (RFC 5322 section 3.4).
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode, serde::Serialize)]
pub struct Mailbox {
    #[n(0)]
    pub name: Option<String>,
    #[n(1)]
    pub address: String,
}

/// What a trusted server in front of us, or we ourselves, found out about the sender (RFC 8601), and what follows for the From field.
#[derive(Clone, Debug, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode, serde::Serialize)]
pub struct Authentication {
    /// Who found it out: the name of the server.
    #[n(0)]
    pub authserv_id: String,
    /// The domain is that of the envelope sender (RFC 7208).
    #[n(1)]
    pub spf: Option<AuthResult>,
    /// The domain is the one that signed (RFC 6376).
    #[n(2)]
    pub dkim: Vec<AuthResult>,
    /// The domain is that of the From field (RFC 7489).
    #[n(3)]
    pub dmarc: Option<AuthResult>,
    /// A result is `pass` for the domain of the one author in From, or for a domain above it.
    #[n(4)]
    pub aligned: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode, serde::Serialize)]
pub struct AuthResult {
    /// `pass`, `fail`, `none` and so on (RFC 8601 section 2.7), in lower case.
    #[n(0)]
    pub result: String,
    /// In lower case.
    #[n(1)]
    pub domain: Option<String>,
}

impl Authentication {
    /// Whether a passing result speaks for `author`, the domain of From. A domain speaks for those below it (relaxed alignment, RFC 7489
    /// section 3.1, as far as it goes without a list of public suffixes), never for the one above it, and a top-level one for nobody else.
    #[must_use]
    pub fn speaks_for(&self, author: &str) -> bool {
        let speaks = |domain: &str| {
            let below = || author.strip_suffix(domain).is_some_and(|sub| sub.ends_with('.'));
            !domain.is_empty() && (author == domain || (domain.contains('.') && below()))
        };
        let passed = self.spf.iter().chain(&self.dkim).chain(&self.dmarc).filter(|result| result.result == "pass");
        passed.filter_map(|result| result.domain.as_deref()).any(speaks)
    }
}

/// Who handed the mail in and for whom, as the SMTP service wrote it at the top of the file (RFC 5321 section 2.3.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// Empty for the null sender `<>`.
    pub sender: String,
    pub recipients: Vec<String>,
}

/// How the bytes of a part were encoded for transport (RFC 2045 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferEncoding {
    Identity,
    QuotedPrintable,
    Base64,
    /// `x-uuencode`: never standardised, and in old mail.
    Uuencode,
}

/// A leaf of the mail that is kept as a file: CONTRACT "An attachment is ...".
#[derive(Clone, Debug)]
pub struct Part<'r> {
    pub name: Option<String>,
    pub content_type: String,
    pub content_id: Option<String>,
    pub inline: bool,
    /// Still transfer-encoded; `parse::decode` gives the bytes.
    pub raw: &'r [u8],
    /// As declared, where it is.
    pub charset: Option<String>,
    pub encoding: TransferEncoding,
}

/// A file that was unpacked from inside an attachment or the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// The name of the attachment it was in, or `body`.
    pub from: String,
    /// `tnef`, `message`, `uuencode`, `yenc`, `smime-signed` or `smime-compressed`.
    pub how: &'static str,
    pub name: Option<String>,
    pub content_type: String,
    pub content_id: Option<String>,
    pub inline: bool,
    pub bytes: Vec<u8>,
}

/// One parsed mail. Strings are decoded and owned, parts borrow.
#[derive(Clone, Debug, Default)]
pub struct Mail<'r> {
    /// The file without its envelope lines.
    pub original: &'r [u8],
    /// The raw header block, without the empty line that ends it.
    pub header_block: &'r [u8],
    pub subject: Option<String>,
    pub from: Option<Mailbox>,
    pub to: Vec<String>,
    pub cc: Vec<String>,
    /// Seconds since 1970, UTC.
    pub date: Option<i64>,
    pub message_id: Option<String>,
    pub in_reply_to: Option<String>,
    pub references: Vec<String>,
    /// In-Reply-To or References is there, whatever is in it.
    pub says_reply: bool,
    /// The conversation index of Outlook, in base64 (MS-OXCMAIL section 2.2.3.2.7).
    pub thread_index: Option<String>,
    pub thread_topic: Option<String>,
    pub body_text: Option<String>,
    pub body_html: Option<String>,
    pub parts: Vec<Part<'r>>,
    /// text/calendar parts that are no attachments: what the mail says to a calendar.
    pub calendars: Vec<Part<'r>>,
    /// The part that `body_text` was read from.
    pub body_part: Option<Part<'r>>,
    /// What was unpacked from attachments and the text.
    pub hidden: Vec<Hidden>,
    /// iCalendar text that was unpacked.
    pub meetings: Vec<String>,
    /// Carries the marker header of our own: it came out of a mailmill once already.
    pub ours: bool,
    /// Auto-Submitted other than `no` (RFC 3834).
    pub automatic: bool,
    /// Only from a server that is trusted, and only the topmost field; or what we found out ourselves.
    pub authentication: Option<Authentication>,
    /// The domain of From, read only where somebody wants to compare it, and only if one person alone wrote the mail: of several
    /// nobody can say which of them a reader will be shown (RFC 7489 section 6.6.1).
    pub author_domain: Option<String>,
    pub defects: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_id_reads_back_what_it_prints_and_nothing_else() {
        let id = ClaimId { batch: 17, number: 3 };
        assert_eq!(id.to_string(), "17-3");
        assert_eq!("17-3".parse(), Ok(id));
        for bad in ["", "17", "17-", "-3", "017-3", "17-03", "+17-3", "17-3-4", "17-x", "99999999999999999999-1"] {
            assert_eq!(bad.parse::<ClaimId>(), Err(NotAnId), "{bad:?}");
        }
    }

    #[test]
    fn a_domain_speaks_for_itself_and_for_what_lies_below_it() {
        for (domain, result, author, speaks) in [
            ("a.example", "pass", "a.example", true),
            ("a.example", "pass", "sub.a.example", true),
            ("sub.a.example", "pass", "a.example", false),
            ("a.example", "pass", "nota.example", false),
            ("a.example", "fail", "a.example", false),
            ("example", "pass", "a.example", false),
            ("", "pass", "a.example", false),
            ("", "pass", "", false),
        ] {
            let result = AuthResult { result: result.to_owned(), domain: Some(domain.to_owned()) };
            let spf = Authentication { spf: Some(result.clone()), ..Authentication::default() };
            let dkim =
                Authentication { dkim: vec![AuthResult::default(), result.clone()], ..Authentication::default() };
            let dmarc = Authentication { dmarc: Some(result), ..Authentication::default() };
            for found in [spf, dkim, dmarc] {
                assert_eq!(found.speaks_for(author), speaks, "{domain} {author}");
            }
        }
    }

    #[test]
    fn a_mail_id_is_blake3_and_reads_back() {
        let id = MailId::of(b"");
        assert_eq!(id.to_string(), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
        assert_eq!(id.to_string().parse(), Ok(id));
    }
}
