//! Takes the envelope off the top of a drop file. Both forms that mail systems write are read: the plain lines of the IIS SMTP
//! service and the injected header fields of Exchange foreign connectors and replay files (spec section 4).
//! Only lines before the first other header field count: what stands further down was written by the sender.

use std::collections::HashSet;

use crate::model::mail::Envelope;

/// Header fields that an MTA injects in front of the mail, in lower case.
const INJECTED: &[&str] = &[
    "x-sender",
    "x-receiver",
    "x-createdby",
    "x-extendedprops",
    "x-extendedmessageprops",
    "x-helodomain",
    "x-source",
    "x-sourceipaddress",
    "x-endofinjectedxheaders",
];

/// Splits a drop file into its envelope and the mail as it was sent. A file that names no recipient has no envelope, and is
/// then the mail from its first byte on.
pub fn split(file: &[u8]) -> (Option<Envelope>, &[u8]) {
    let mut envelope = Envelope::default();
    // A set, not a look through the list: a mail to everybody may name a hundred thousand.
    let mut seen = HashSet::new();
    let mut rest = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    while let Some((name, value, after)) = next_injected(rest) {
        rest = after;
        match name.as_str() {
            "x-sender" => envelope.sender = address(&value),
            "x-receiver" => {
                let recipient = address(&value);
                if !recipient.is_empty() && seen.insert(recipient.clone()) {
                    envelope.recipients.push(recipient);
                }
            }
            "x-endofinjectedxheaders" => break,
            _ => {}
        }
    }
    if envelope.recipients.is_empty() { (None, file) } else { (Some(envelope), rest) }
}

/// The next injected field: its name in lower case, its unfolded value, and what follows.
fn next_injected(bytes: &[u8]) -> Option<(String, String, &[u8])> {
    let colon = bytes.iter().take(64).position(|byte| *byte == b':')?;
    let name = std::str::from_utf8(bytes.get(..colon)?).ok()?.trim_end_matches([' ', '\t']).to_ascii_lowercase();
    if !INJECTED.contains(&name.as_str()) {
        return None;
    }
    let mut end = line_end(bytes, colon);
    // Folded lines start with white space (RFC 5322 section 2.2.3).
    while matches!(bytes.get(end), Some(b' ' | b'\t')) {
        end = line_end(bytes, end);
    }
    let value = String::from_utf8_lossy(bytes.get(colon + 1..end)?).replace(['\r', '\n'], "");
    Some((name, value, bytes.get(end..)?))
}

fn line_end(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    memchr::memchr(b'\n', rest).map_or(bytes.len(), |at| from + at + 1)
}

/// The address in `a@b`, `<a@b> NOTIFY=NEVER` or `<"a b"@c>`; empty for the null sender.
fn address(value: &str) -> String {
    let value = value.trim();
    let Some(inner) = value.strip_prefix('<') else {
        return value.split([' ', '\t']).next().unwrap_or_default().to_owned();
    };
    let mut quoted = false;
    let mut escaped = false;
    let end = inner.char_indices().find(|&(_, c)| {
        let closes = c == '>' && !quoted;
        if c == '"' && !escaped {
            quoted = !quoted;
        }
        escaped = c == '\\' && !escaped;
        closes
    });
    inner.get(..end.map_or(inner.len(), |(at, _)| at)).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
#[allow(clippy::unnecessary_wraps)] // compared with what split answers
mod tests {
    use super::*;

    fn envelope(sender: &str, recipients: &[&str]) -> Option<Envelope> {
        let recipients = recipients.iter().map(|&recipient| recipient.to_owned()).collect();
        Some(Envelope { sender: sender.to_owned(), recipients })
    }

    #[test]
    fn the_iis_form_is_one_line_for_the_sender_and_one_for_each_recipient() {
        let file = b"x-sender: ann@a.example\r\nx-receiver: news@l.example\r\nx-receiver: docs@l.example\r\nReceived: x\r\n\r\nbody";
        assert_eq!(
            split(file),
            (envelope("ann@a.example", &["news@l.example", "docs@l.example"]), &b"Received: x\r\n\r\nbody"[..])
        );
    }

    #[test]
    fn the_exchange_form_has_any_order_case_folding_and_parameters() {
        let file = b"X-Receiver: <mary@y.example> NOTIFY=NEVER\r\n ORcpt=rfc822;mary@y.example\r\nX-SENDER: <bob@x.example> BODY=7bit RET=HDRS ENVID=1\r\n\
            X-CreatedBy: MSExchange15\r\nX-ExtendedProps: AAAA\r\n\tBBBB\r\nX-EndOfInjectedXHeaders: 123\r\nX-Sender: kept@z.example\r\nSubject: s\r\n\r\n";
        let (found, rest) = split(file);
        assert_eq!(found, envelope("bob@x.example", &["mary@y.example"]));
        assert_eq!(rest, b"X-Sender: kept@z.example\r\nSubject: s\r\n\r\n");
    }

    #[test]
    fn recipients_after_the_first_other_field_do_not_count() {
        let file = b"x-sender: a@a.example\nx-receiver: news@l.example\nSubject: s\nx-receiver: secret@l.example\n\nx-receiver: body@l.example\n";
        assert_eq!(split(file).0, envelope("a@a.example", &["news@l.example"]));
    }

    #[test]
    fn a_file_without_recipients_is_the_mail_itself() {
        for file in [
            &b""[..],
            b"\0",
            b"Subject: s\n\n",
            b"x-sender: a@a.example\nSubject: s\n\n",
            b"x-receiver:\n\n",
            b"x-receiver",
        ] {
            assert_eq!(split(file), (None, file));
        }
    }

    #[test]
    fn null_senders_quotes_and_repeated_recipients_are_read() {
        let file = b"x-sender: <>\nx-receiver: <\"a >b\"@c.example> X=1\nx-receiver: <\"a >b\"@c.example>\n\n";
        assert_eq!(split(file).0, envelope("", &["\"a >b\"@c.example"]));
    }
}
