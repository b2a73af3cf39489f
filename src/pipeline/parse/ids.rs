//! Message identifiers (RFC 5322 section 3.6.4), without their angle brackets and without white space.

/// All ids of a field. Words between them (`Your message of ...`, obs-phrase) are not ids; where nothing is in angle
/// brackets, a word with an `@` is one, and a word that is alone.
pub(super) fn all(field: &[u8]) -> Vec<String> {
    let mut ids = Vec::new();
    if !field.contains(&b'<') {
        let words = || field.split(|byte| byte.is_ascii_whitespace() || *byte == b',').filter(|word| !word.is_empty());
        let is_alone = words().nth(1).is_none();
        ids.extend(words().filter(|word| is_alone || word.contains(&b'@')).map(clean));
    }
    let mut rest = field;
    while let Some(open) = rest.iter().position(|byte| *byte == b'<') {
        rest = rest.get(open + 1..).unwrap_or_default();
        let Some(close) = rest.iter().position(|byte| matches!(byte, b'<' | b'>')) else { break };
        if rest.get(close) == Some(&b'<') {
            continue;
        }
        let id = clean(rest.get(..close).unwrap_or_default());
        if !id.is_empty() {
            ids.push(id);
        }
        rest = rest.get(close + 1..).unwrap_or_default();
    }
    ids
}

/// What identifies this message; without angle brackets, the first word, whatever it is.
pub(super) fn own(field: &[u8]) -> Option<String> {
    let bare = || field.split(u8::is_ascii_whitespace).map(clean).find(|id| !id.is_empty());
    all(field).into_iter().next().or_else(bare)
}

fn clean(id: &[u8]) -> String {
    let is_wanted = |byte: &u8| !byte.is_ascii_whitespace() && !matches!(byte, b'<' | b'>' | b'\0');
    if id.iter().all(is_wanted) {
        return String::from_utf8_lossy(id).into_owned();
    }
    let wanted: Vec<u8> = id.iter().copied().filter(is_wanted).collect();
    String::from_utf8_lossy(&wanted).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_between_angle_brackets_and_words_are_passed_over() {
        assert_eq!(all(b" <a@b>\r\n\t<c@ d>,<> (x) <e@f> g <h"), ["a@b", "c@d", "e@f"]);
        assert_eq!(all(b" Your message of Monday <a@b>\r\n"), ["a@b"]);
        assert_eq!(all(b" Your message of Monday\r\n"), [""; 0]);
        assert_eq!(all(b" a@b, c@d e\r\n"), ["a@b", "c@d"]);
        assert_eq!(all(b" 0002\r\n"), ["0002"]);
        assert_eq!(all(b" <a <b@c>"), ["b@c"]);
    }

    #[test]
    fn a_message_id_without_brackets_is_the_first_word() {
        assert_eq!(own(b" a@b c@d\r\n").as_deref(), Some("a@b"));
        assert_eq!(own(b" 20:51:38 PM\r\n").as_deref(), Some("20:51:38"));
        assert_eq!(own(b" <a@b\r\n").as_deref(), Some("a@b"));
        assert_eq!(own(b" \r\n"), None);
        assert_eq!(own(b" <>\r\n"), None);
    }

    #[test]
    fn a_hostile_field_takes_linear_time() {
        for piece in ["<", ">", "< ", "<>", "<a@b>", "a "] {
            assert!(all(piece.repeat(1 << 20).as_bytes()).len() <= 1 << 20);
        }
    }
}
