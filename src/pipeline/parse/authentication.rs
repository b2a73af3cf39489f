//! Authentication-Results (RFC 8601): what a server in front of us found out about the sender. Only the topmost field of
//! a mail counts, and only when it names a server that the administrator trusts: everything below it, and every other
//! name, may have been written by the sender. Bounded whatever the field holds.

use crate::model::mail::{AuthResult, Authentication};

/// What is read of one field. Real ones have a handful of results and less than a kilobyte.
const MOST_BYTES: usize = 64 << 10;
const MOST_RESULTS: usize = 64;

/// Reads a field. None when it names nobody who is trusted.
pub(super) fn read(field: &[u8], trusted: &[String]) -> Option<Authentication> {
    let text = String::from_utf8_lossy(field.get(..MOST_BYTES).unwrap_or(field)).into_owned();
    let mut statements = statements(&text).into_iter();
    // The version behind the name (RFC 8601 section 2.2) is 1, or there is none.
    let head = statements.next()?;
    let mut head = head.iter();
    let authserv_id = head.next()?;
    let is_known_version = head.next().is_none_or(|version| version == "1");
    if !is_known_version || !trusted.iter().any(|id| id.eq_ignore_ascii_case(authserv_id)) {
        return None;
    }
    let mut found = Authentication { authserv_id: authserv_id.to_ascii_lowercase(), ..Authentication::default() };
    for statement in statements.take(MOST_RESULTS) {
        note(&statement, &mut found);
    }
    Some(found)
}

/// One result: the first of SPF and DMARC, and each of DKIM.
fn note(statement: &[String], found: &mut Authentication) {
    let mut properties = statement.iter().filter_map(|word| word.split_once('='));
    let Some((method, result)) = properties.next() else { return };
    let method = method.split('/').next().unwrap_or_default().to_ascii_lowercase();
    let properties: Vec<(&str, &str)> = properties.collect();
    let named = |wanted: &str| {
        let value = properties.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| *value);
        value.map(domain_of).filter(|domain| !domain.is_empty())
    };
    let result = |domain| AuthResult { result: result.to_ascii_lowercase(), domain };
    match method.as_str() {
        "spf" if found.spf.is_none() => found.spf = Some(result(named("smtp.mailfrom"))),
        "dkim" => found.dkim.push(result(named("header.d").or_else(|| named("header.i")))),
        "dmarc" if found.dmarc.is_none() => found.dmarc = Some(result(named("header.from"))),
        _ => {}
    }
}

/// The domain of an address or of `@domain`, or the domain itself, in lower case and without the dot of the root.
pub(super) fn domain_of(value: &str) -> String {
    let domain = value.rsplit_once('@').map_or(value, |(_, domain)| domain);
    domain.trim_matches(['<', '>', '.', ' ']).to_ascii_lowercase()
}

/// The field cut at its semicolons, each piece into words. Comments are passed over, a quoted string is what is in it,
/// and white space around `=` and `.` joins: `smtp . mailfrom = a@b` is one word.
fn statements(text: &str) -> Vec<Vec<String>> {
    let mut all = vec![Vec::new()];
    let mut word = String::new();
    let (mut depth, mut is_quoted, mut is_joined) = (0_usize, false, false);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if is_quoted || depth > 0 => {
                let escaped = chars.next();
                word.extend(escaped.filter(|_| depth == 0));
            }
            '"' if depth == 0 => (is_quoted, is_joined) = (!is_quoted, false),
            _ if is_quoted => word.push(c),
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            ';' => {
                end(&mut word, &mut all);
                all.push(Vec::new());
                is_joined = false;
            }
            '=' | '/' => {
                if word.is_empty()
                    && let Some(last) = all.last_mut().and_then(Vec::pop)
                {
                    word = last;
                }
                word.push(c);
                is_joined = true;
            }
            c if c.is_whitespace() => {
                if !is_joined {
                    end(&mut word, &mut all);
                }
            }
            c => {
                word.push(c);
                is_joined = false;
            }
        }
        if all.len() > MOST_RESULTS + 1 {
            break;
        }
    }
    end(&mut word, &mut all);
    all
}

fn end(word: &mut String, all: &mut [Vec<String>]) {
    if let Some(last) = all.last_mut().filter(|_| !word.is_empty()) {
        last.push(std::mem::take(word));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(field: &str) -> Option<Authentication> {
        read(field.as_bytes(), &["mx.example".to_owned()])
    }

    fn told(result: &AuthResult) -> (&str, Option<&str>) {
        (&result.result, result.domain.as_deref())
    }

    /// The forms of RFC 8601 appendix B, and those of Gmail and Exchange Online.
    #[test]
    fn results_are_read_in_all_the_forms_they_are_written_in() {
        let found = of(" MX.example 1;\r\n spf=pass (sender permitted; really) smtp.mailfrom=Ann@A.example.;\r\n\
            \tdkim=pass reason=\"good; signature\" header.i=@sub.a.example header.b=x;\r\n dkim = fail header.d = \"b.example\";\
            dmarc/1=PASS (p=NONE sp=NONE) header.from=a.example; auth=pass smtp.auth=x")
        .unwrap();
        assert_eq!(found.authserv_id, "mx.example");
        assert_eq!(found.spf.as_ref().map(told), Some(("pass", Some("a.example"))));
        let dkim: Vec<_> = found.dkim.iter().map(told).collect();
        assert_eq!(dkim, [("pass", Some("sub.a.example")), ("fail", Some("b.example"))]);
        assert_eq!(found.dmarc.as_ref().map(told), Some(("pass", Some("a.example"))));
    }

    #[test]
    fn only_a_trusted_name_is_believed_and_the_first_of_spf_and_dmarc() {
        for field in [
            "mx.example.evil; spf=pass smtp.mailfrom=a.example",
            "",
            ";",
            "(mx.example) x; spf=pass",
            "mx.example 2; spf=pass",
        ] {
            assert_eq!(of(field), None, "{field}");
        }
        let found = of("mx.example; spf=fail smtp.mailfrom=a.example; spf=pass smtp.mailfrom=a.example").unwrap();
        assert_eq!(found.spf.as_ref().map(told), Some(("fail", Some("a.example"))));
        assert!(of("mx.example; none").is_some_and(|found| found.spf.is_none() && found.dkim.is_empty()));
    }

    /// What a sender can put into an address or a comment ends no statement.
    #[test]
    fn quotes_and_comments_hide_what_is_in_them() {
        let found = of(
            "mx.example; spf=fail (x; dmarc=pass \\) header.from=a.example) smtp.mailfrom=\"a; dkim=pass header.d=a.example\"@b.example",
        );
        let found = found.unwrap();
        assert!(found.dmarc.is_none() && found.dkim.is_empty());
        assert_eq!(found.spf.as_ref().map(told), Some(("fail", Some("b.example"))));
    }

    #[test]
    fn a_flood_is_cut_off() {
        let found = of(&format!("mx.example{}", "; dkim=pass header.d=a".repeat(100_000))).unwrap();
        assert_eq!(found.dkim.len(), MOST_RESULTS);
    }

    proptest::proptest! {
        #[test]
        fn no_field_is_too_broken(field in "(mx\\.example;)?([ ;=./()\"\\\\a]|spf|dkim|pass|header\\.d|é){0,40}") {
            let _ = of(&field);
        }
    }
}
