//! Opens what hides attachments in a mail: TNEF, nested messages, signed containers, uuencode and yEnc in the text. Nothing is
//! taken away: a container stays the attachment that it is, and what came out stands beside it. One budget for the whole mail.

use std::borrow::Cow;

use crate::extract::{self, Budget, Extracted, How, Limits, Smime, Unpacked};
use crate::model::mail::{Hidden, Mail, Part, TransferEncoding};

/// Reading mail, handed in because stages do not know each other.
pub trait Reader {
    /// Attachments and bodies stay encoded.
    fn parse<'r>(&self, bytes: &'r [u8]) -> Option<Mail<'r>>;
    fn decode<'r>(&self, part: &Part<'r>) -> Cow<'r, [u8]>;
    fn decode_text(&self, part: &Part<'_>) -> String;
}

/// How far the containers of one mail are opened.
#[derive(Clone, Copy)]
pub struct Bounds<'b> {
    pub limits: Limits,
    /// Of a file name as its container has it.
    pub name_bytes: usize,
    /// Once it says no, nothing more is opened.
    pub in_time: &'b dyn Fn() -> bool,
}

/// Fills `hidden`, `meetings` and, where the mail has none, the bodies.
pub fn unpack(mail: &mut Mail<'_>, reader: &dyn Reader, bounds: Bounds<'_>) {
    let mut opener = Opener { reader, budget: Budget::new(bounds.limits), bounds, found: Found::default() };
    for (number, part) in mail.parts.iter().enumerate() {
        if may_hide(part) {
            let from = part.name.clone().unwrap_or_else(|| format!("attachment {}", number + 1));
            let bytes = reader.decode(part);
            opener.open(&bytes, Some(&part.content_type), part.name.as_deref(), &from);
        }
    }
    if let Some(body) = mail.body_part.as_ref().filter(|body| text_may_hide(body)) {
        opener.open_text(&reader.decode(body), "body");
    }
    let found = opener.found;
    mail.hidden = found.hidden;
    mail.meetings = found.meetings;
    mail.defects.extend(found.defects);
    if mail.body_text.is_none() && mail.body_html.is_none() {
        mail.body_text = found.body_text;
        mail.body_html = found.body_html;
    }
}

#[derive(Default)]
struct Found {
    hidden: Vec<Hidden>,
    meetings: Vec<String>,
    defects: Vec<String>,
    body_text: Option<String>,
    body_html: Option<String>,
}

struct Opener<'t> {
    reader: &'t dyn Reader,
    budget: Budget,
    bounds: Bounds<'t>,
    found: Found,
}

/// Looked at before a part is decoded. Any type may claim to be `application/octet-stream`: there the first bytes decide.
fn may_hide(part: &Part<'_>) -> bool {
    let kind = part.content_type.as_str();
    let name = part.name.as_deref();
    kind.starts_with("message/")
        || kind == "application/octet-stream"
        || extract::is_tnef(Some(kind), name, &[])
        || extract::is_smime(Some(kind), name)
}

/// What both kinds of block start with is left as it is by quoted-printable: looked for before the text is decoded a second time, in
/// its own bytes. That was an eighth of what a small mail costs, and the bare word is in much prose.
fn text_may_hide(body: &Part<'_>) -> bool {
    let is_start = |at: usize| {
        let before = at.checked_sub(1).and_then(|at| body.raw.get(at));
        let after = body.raw.get(at + b"begin".len()..).unwrap_or_default();
        before == Some(&b'y') || matches!(after, [b' ', b'0'..=b'7', ..] | [b'-', b'b', ..])
    };
    body.encoding == TransferEncoding::Base64 || memchr::memmem::find_iter(body.raw, b"begin").any(is_start)
}

/// By its type; by its name where the type says nothing.
fn is_message(kind: Option<&str>, name: Option<&str>) -> bool {
    match kind {
        Some("message/rfc822" | "message/global" | "message/news") => true,
        Some("application/octet-stream") => name.is_some_and(|name| name.to_ascii_lowercase().ends_with(".eml")),
        _ => false,
    }
}

impl Opener<'_> {
    fn open(&mut self, bytes: &[u8], kind: Option<&str>, name: Option<&str>, from: &str) {
        if !(self.bounds.in_time)() {
            return self.defect(from, "left closed: the mail took too long");
        }
        let entered = self.budget.enter();
        if let Err(problem) = entered {
            return self.defect(from, &problem.to_string());
        }
        if extract::is_tnef(kind, name, bytes) {
            let unpacked = extract::tnef(bytes, &mut self.budget);
            self.take(unpacked, from);
        } else if extract::is_smime(kind, name) {
            match extract::smime(bytes, &mut self.budget) {
                Some(Smime::Opened(unpacked)) => self.take_signed(unpacked, from),
                Some(Smime::Encrypted) => self.defect(from, "encrypted; kept as it is"),
                Some(Smime::Detached) | None => {}
            }
        } else if is_message(kind, name) {
            self.open_message(bytes, from, "message");
        }
        self.budget.leave();
    }

    /// The attachments of a nested message; the message itself is an attachment already.
    fn open_message(&mut self, bytes: &[u8], from: &str, how: &'static str) {
        let Some(nested) = self.reader.parse(bytes) else { return };
        for (number, part) in nested.parts.iter().enumerate() {
            let content = self.reader.decode(part);
            if let Err(problem) = self.budget.take_file(content.len()) {
                return self.defect(from, &problem.to_string());
            }
            let inner = part.name.clone().unwrap_or_else(|| format!("attachment {}", number + 1));
            if may_hide(part) {
                self.open(&content, Some(&part.content_type), part.name.as_deref(), &format!("{from}/{inner}"));
            }
            self.found.hidden.push(Hidden {
                from: from.to_owned(),
                how,
                name: part.name.clone(),
                content_type: part.content_type.clone(),
                content_id: part.content_id.clone(),
                inline: part.inline,
                bytes: content.into_owned(),
            });
        }
        self.found.meetings.extend(nested.calendars.iter().map(|part| self.reader.decode_text(part)));
        if how != "message" {
            // A signed mail is the mail; a forwarded one is not.
            self.found.body_text = self.found.body_text.take().or(nested.body_text);
            self.found.body_html = self.found.body_html.take().or(nested.body_html);
        }
    }

    fn take_signed(&mut self, unpacked: Unpacked, from: &str) {
        for problem in &unpacked.problems {
            self.defect(from, &problem.to_string());
        }
        for file in unpacked.files {
            self.open_message(&file.bytes, from, file.how.word());
        }
    }

    fn take(&mut self, unpacked: Unpacked, from: &str) {
        for problem in &unpacked.problems {
            self.defect(from, &problem.to_string());
        }
        self.found.meetings.extend(unpacked.meeting);
        self.found.body_text = self.found.body_text.take().or(unpacked.body_text);
        self.found.body_html = self.found.body_html.take().or(unpacked.body_html);
        for file in unpacked.files {
            if !file.opened {
                let inner = file.name.clone().unwrap_or_else(|| file.how.word().to_owned());
                self.open(&file.bytes, file.content_type.as_deref(), file.name.as_deref(), &format!("{from}/{inner}"));
            }
            self.keep(file, from);
        }
    }

    fn keep(&mut self, mut file: Extracted, from: &str) {
        if let Some(name) = file.name.as_mut().filter(|name| name.len() > self.bounds.name_bytes) {
            name.truncate(name.floor_char_boundary(self.bounds.name_bytes));
            self.defect(from, "name-limit");
        }
        self.found.hidden.push(Hidden {
            from: from.to_owned(),
            how: file.how.word(),
            name: file.name,
            content_type: file.content_type.unwrap_or_else(|| "application/octet-stream".to_owned()),
            content_id: file.content_id,
            inline: file.inline,
            bytes: file.bytes,
        });
    }

    fn open_text(&mut self, text: &[u8], from: &str) {
        for (mark, how) in [(&b"begin"[..], How::Uuencode), (b"=ybegin", How::Yenc)] {
            if memchr::memmem::find(text, mark).is_none() {
                continue;
            }
            let open = if how == How::Uuencode { extract::uuencoded } else { extract::yenc };
            let unpacked = open(text, &mut self.budget);
            self.take(unpacked, from);
        }
    }

    fn defect(&mut self, from: &str, problem: &str) {
        let defect = format!("{from}: {problem}");
        if !self.found.defects.contains(&defect) {
            self.found.defects.push(defect);
        }
    }
}
