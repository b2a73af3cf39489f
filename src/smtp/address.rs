//! Addresses of an SMTP envelope as they are written at the top of a drop file. The command parser takes quotes away; here they
//! are put back where they are needed (RFC 5321 section 4.1.2), so that a file says the same as the wire did.

/// Whether an address can be written as one envelope line at all.
pub fn is_sound(address: &str) -> bool {
    !address.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
}

/// The address with its local part quoted where that is needed.
pub fn quoted(address: &str) -> String {
    let Some((local, domain)) = address.rsplit_once('@') else { return address.to_owned() };
    if is_dot_atom(local) {
        return address.to_owned();
    }
    let escaped: String = local.chars().flat_map(|c| escape(c).into_iter().flatten()).collect();
    format!("\"{escaped}\"@{domain}")
}

fn escape(c: char) -> [Option<char>; 2] {
    if matches!(c, '"' | '\\') { [Some('\\'), Some(c)] } else { [Some(c), None] }
}

/// RFC 5322 section 3.2.3, and RFC 6532 section 3.2 for what lies outside ASCII.
fn is_dot_atom(local: &str) -> bool {
    let is_atom = |c: char| c.is_ascii_alphanumeric() || !c.is_ascii() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atom))
}

/// The part behind the last `@`, in lower case.
pub fn domain_of(address: &str) -> String {
    address.rsplit_once('@').map_or("", |(_, domain)| domain).to_lowercase()
}

/// The envelope as the first lines of a drop file (IIS SMTP form): `x-sender:` and one `x-receiver:` for each recipient.
pub fn envelope_lines<'a>(sender: &str, recipients: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut lines = Vec::with_capacity(128);
    line(&mut lines, "x-sender: ", sender);
    recipients.for_each(|recipient| line(&mut lines, "x-receiver: ", recipient));
    lines
}

fn line(lines: &mut Vec<u8>, name: &str, address: &str) {
    lines.extend_from_slice(name.as_bytes());
    let address = quoted(address);
    // Whoever reads the plain form ends at a space; the form with brackets has quotes.
    let bare = !address.is_empty() && !address.contains([' ', '\t', '<', '>', '"']);
    if bare {
        lines.extend_from_slice(address.as_bytes());
    } else {
        lines.push(b'<');
        lines.extend_from_slice(address.as_bytes());
        lines.push(b'>');
    }
    lines.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pipeline::envelope::split;

    #[test]
    fn quotes_are_put_back_where_they_are_needed() {
        for (bare, written) in [
            ("a.b+c@d.example", "a.b+c@d.example"),
            ("a b@d.example", "\"a b\"@d.example"),
            ("a\"b\\@d.example", "\"a\\\"b\\\\\"@d.example"),
            ("a@b@d.example", "\"a@b\"@d.example"),
            (".a@d.example", "\".a\"@d.example"),
            ("grüße@d.example", "grüße@d.example"),
            ("", ""),
        ] {
            assert_eq!(quoted(bare), written);
        }
    }

    #[test]
    fn the_null_sender_is_written_as_brackets() {
        let lines = envelope_lines("", ["news@l.example"].into_iter());
        assert_eq!(lines, b"x-sender: <>\r\nx-receiver: news@l.example\r\n");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_what_the_engine_reads(
            sender in "([ -~]{1,12}@[a-z]{1,5}\\.example)?",
            recipient in "[ -~]{1,12}@[a-z]{1,5}\\.example",
        ) {
            let file = [envelope_lines(&sender, [recipient.as_str()].into_iter()), b"Subject: s\r\n\r\n".to_vec()].concat();
            let (envelope, rest) = split(&file);
            let envelope = envelope.unwrap();
            prop_assert_eq!(rest, b"Subject: s\r\n\r\n");
            prop_assert_eq!(envelope.sender, quoted(&sender));
            prop_assert_eq!(envelope.recipients, vec![quoted(&recipient)]);
        }
    }
}
