//! The rules of the house that the compiler does not know: DESIGN section 5. Reads every file under `src/` as words, without
//! comments and strings, and knows which module each path means.
// A test that cannot go on says so by a panic, and looks at files as anybody would.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

/// The floors, lowest first. A floor never imports a higher one.
const FLOORS: [&[&str]; 5] = [
    &["model", "calendar", "extract", "html"],
    &["config", "directory", "spool", "store", "lists", "import_source"],
    &["pipeline"],
    &["engine"],
    &["smtp", "cli", "generate"],
];

/// `lib.rs` and `main.rs` are the map and the door bell: they stand outside the house.
const OUTSIDE: [&str; 2] = ["lib", "main"];

#[derive(Debug, PartialEq, Eq)]
struct Violation {
    file: String,
    line: usize,
    text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "src/{}:{}: {}", self.file, self.line, self.text)
    }
}

/// A word or a sign of the source, and its line.
#[derive(Clone, Copy, Debug)]
struct Token<'s> {
    text: &'s str,
    line: usize,
}

/// Source text cut into words and signs; comments, strings and characters are passed over. `::` is one sign.
fn tokens(source: &str) -> Vec<Token<'_>> {
    let bytes = source.as_bytes();
    let (mut at, mut line) = (0, 1);
    let mut tokens = Vec::new();
    while at < bytes.len() {
        let end = at + length_of_next(source, at);
        let text = &source[at..end];
        let skipped = text.starts_with("//") || text.starts_with("/*") || text.contains('"') || text.starts_with('\'');
        if !skipped && !text.trim().is_empty() {
            tokens.push(Token { text, line });
        }
        line += text.matches('\n').count();
        at = end;
    }
    tokens
}

/// How many bytes the word, sign, comment or literal at this place has.
fn length_of_next(source: &str, at: usize) -> usize {
    let rest = &source[at..];
    let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    let to = |end: Option<usize>, more: usize| end.map_or(rest.len(), |end| end + more);
    if rest.starts_with("//") {
        return to(rest.find('\n'), 0);
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    // r"..", r#".."#, b"..", br#".."#: the quotes belong to the word before them.
    let after = &rest[word..];
    if word <= 2 && rest[..word].chars().all(|c| matches!(c, 'r' | 'b' | 'c')) {
        let hashes = after.len() - after.trim_start_matches('#').len();
        let raw = rest[..word].contains('r');
        if after[hashes..].starts_with('"') && (raw || hashes == 0) {
            let inside = word + hashes + 1;
            return if raw {
                let close = format!("\"{}", "#".repeat(hashes));
                inside + to(rest[inside..].find(&close), close.len()).min(rest.len() - inside)
            } else {
                inside + quoted(&rest[inside..], '"')
            };
        }
    }
    if rest.starts_with('\'') {
        return character(rest);
    }
    if word > 0 {
        return word;
    }
    if rest.starts_with("::") { 2 } else { rest.chars().next().map_or(1, char::len_utf8) }
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let step = if rest.starts_with("/*") {
            depth += 1;
            2
        } else if rest.starts_with("*/") {
            depth -= 1;
            2
        } else {
            rest.chars().next().map_or(1, char::len_utf8)
        };
        at += step;
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length up to and with the closing quote.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if c == quote && !escaped {
            return at + c.len_utf8();
        }
        escaped = c == '\\' && !escaped;
    }
    text.len()
}

/// `'a'` or `'\n'` whole; of the lifetime `'a` only the quote.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), _) => 1 + quoted(&text[1..], '\''),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

/// The module that a file is: `engine/batch.rs` is `[engine, batch]`.
fn module_of(file: &str) -> Vec<String> {
    let stem = file.strip_suffix(".rs").unwrap_or(file);
    let mut module: Vec<String> = stem.split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    module
}

/// A path that starts with `crate`, `super` or `self`, as the module path that it means.
#[derive(Debug, PartialEq, Eq)]
struct Import {
    to: Vec<String>,
    line: usize,
}

/// All paths of a file that say where they start. Groups are taken apart.
fn imports(file: &str, source: &str) -> Vec<Import> {
    let tokens = tokens(source);
    let is = |at: usize, text: &str| tokens.get(at).is_some_and(|token: &Token<'_>| token.text == text);
    let mut found = Vec::new();
    // Modules written out within the file, tests above all: the depth of their braces and their name.
    let mut inside: Vec<(usize, String)> = Vec::new();
    let mut depth = 0_usize;
    for at in 0..tokens.len() {
        match tokens[at].text {
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                inside.retain(|(opened, _)| *opened <= depth);
            }
            "mod" if is(at + 2, "{") => inside.push((depth + 1, tokens[at + 1].text.to_owned())),
            start @ ("crate" | "super" | "self") if is(at + 1, "::") && (at == 0 || !is(at - 1, "::")) => {
                let mut module = module_of(file);
                module.extend(inside.iter().map(|(_, name)| name.clone()));
                let mut next = at;
                if start == "crate" {
                    module.clear();
                }
                while is(next, "super") {
                    module.pop();
                    next += 2;
                }
                if start == "super" {
                    next -= 2;
                }
                walk(&tokens, next + 2, &module, &mut found);
            }
            _ => {}
        }
    }
    found
}

/// Follows a path from here, into every branch of a group; answers where it ends.
fn walk(tokens: &[Token<'_>], mut at: usize, module: &[String], found: &mut Vec<Import>) -> usize {
    let mut path = module.to_vec();
    while let Some(token) = tokens.get(at) {
        if token.text == "{" {
            at += 1;
            while tokens.get(at).is_some_and(|token| token.text != "}") {
                at = if tokens[at].text == "," { at + 1 } else { walk(tokens, at, &path, found).max(at + 1) };
            }
            return at + 1;
        }
        path.push(token.text.to_owned());
        at += 1;
        if tokens.get(at).is_none_or(|token| token.text != "::") {
            break;
        }
        at += 1;
    }
    let line = tokens.get(at.saturating_sub(1)).map_or(0, |token| token.line);
    found.push(Import { to: path, line });
    // `as` and its new name belong to the branch.
    while tokens.get(at).is_some_and(|token| !matches!(token.text, "," | "}" | ";" | "{" | "(" | ")" | "<" | ">")) {
        if tokens[at].text != "as" {
            break;
        }
        at += 2;
    }
    at
}

fn floor_of(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// All that is wrong with one file.
fn violations(file: &str, source: &str) -> Vec<Violation> {
    let module = module_of(file);
    let mut wrong = Vec::new();
    let mut say = |line: usize, text: String| wrong.push(Violation { file: file.to_owned(), line, text });
    if OUTSIDE.contains(&module[0].as_str()) {
        return names(file, source);
    }
    let Some(floor) = floor_of(&module[0]) else {
        say(
            1,
            format!("module `{}` is on no floor: give it one in tests/architecture.rs and DESIGN section 5", module[0]),
        );
        return wrong;
    };
    for import in imports(file, source) {
        let to = &import.to[0];
        match floor_of(to) {
            Some(other) if other > floor => {
                say(import.line, format!("floor {floor} ({}) imports floor {other} ({to})", module[0]));
            }
            Some(_) => {}
            None => say(import.line, format!("`crate::{to}` is no module with a floor")),
        }
        let stage =
            |path: &[String]| (path.first().is_some_and(|first| first == "pipeline")).then(|| path.get(1).cloned());
        if let (Some(Some(ours)), Some(theirs)) = (stage(&module), stage(&import.to))
            && theirs.as_ref() != Some(&ours)
        {
            let theirs = theirs.unwrap_or_else(|| "the pipeline as a whole".to_owned());
            say(import.line, format!("stage {ours} names {theirs}: no stage names another stage"));
        }
    }
    wrong.extend(names(file, source));
    wrong
}

/// Words that only one place may say.
fn names(file: &str, source: &str) -> Vec<Violation> {
    let is_one_of = |path: &str| file == format!("{path}.rs") || file.starts_with(&format!("{path}/"));
    let rules = [
        ("mail_parser", is_one_of("pipeline/parse"), "only pipeline/parse names mail_parser"),
        ("rocksdb", is_one_of("store/rocks"), "only store/rocks.rs names rocksdb"),
        ("unsafe", file == "spool/raw.rs", "only spool/raw.rs contains `unsafe`"),
    ];
    let mut wrong = Vec::new();
    let all = tokens(source);
    for (word, allowed, text) in rules {
        let said = all.iter().filter(|token| !allowed && token.text == word);
        wrong.extend(said.map(|token| Violation { file: file.to_owned(), line: token.line, text: text.to_owned() }));
    }
    wrong.extend(impure_words(file, &all));
    wrong
}

/// Floor 0 knows no input, no output, no threads and no clock; its tests may.
fn impure_words(file: &str, all: &[Token<'_>]) -> Vec<Violation> {
    const IMPURE: [&str; 9] = ["fs", "net", "thread", "process", "env", "Instant", "SystemTime", "rustix", "now"];
    if !file.starts_with("model/") {
        return Vec::new();
    }
    let tests = all.windows(3).position(|three| three[0].text == "cfg" && three[2].text == "test").unwrap_or(all.len());
    let is_path = |at: Option<usize>| at.and_then(|at| all.get(at)).is_some_and(|token| token.text == "::");
    let said = (0..tests).filter(|at| {
        let word = all[*at].text;
        // `super::thread` is the discussion, not the thread of a program.
        let is_other = word == "thread" && at.checked_sub(2).is_some_and(|before| all[before].text == "super");
        IMPURE.contains(&word) && !is_other && (is_path(at.checked_sub(1)) || is_path(Some(at + 1)))
    });
    let mut lines: Vec<usize> = said.map(|at| all[at].line).collect();
    lines.dedup();
    let text = "floor 0 has no I/O, no threads, no clock";
    lines.into_iter().map(|line| Violation { file: file.to_owned(), line, text: text.to_owned() }).collect()
}

/// The functions of a file, with their lines from `fn` to the closing brace.
fn functions(source: &str) -> Vec<(String, usize, usize)> {
    let all = tokens(source);
    let mut found = Vec::new();
    for (at, token) in all.iter().enumerate() {
        if token.text != "fn" || all.get(at + 1).is_none_or(|next| next.text == "(") {
            continue;
        }
        let mut depth = 0_i32;
        for next in &all[at..] {
            match next.text {
                "{" => depth += 1,
                "}" => depth -= 1,
                ";" if depth == 0 => break,
                _ => {}
            }
            if next.text == "}" && depth == 0 {
                found.push((all[at + 1].text.to_owned(), token.line, next.line - token.line + 1));
                break;
            }
        }
    }
    found
}

fn sources() -> BTreeMap<String, String> {
    fn gather(root: &Path, folder: &Path, all: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                gather(root, &path, all);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
                all.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = BTreeMap::new();
    gather(&root, &root, &mut all);
    all
}

#[test]
fn the_house_keeps_its_rules() {
    let sources = sources();
    let paths: usize = sources.iter().map(|(file, source)| imports(file, source).len()).sum();
    assert!(sources.len() > 50 && paths > 400, "the sources and their paths are found: {paths}");
    let wrong: Vec<String> =
        sources.iter().flat_map(|(file, source)| violations(file, source)).map(|wrong| wrong.to_string()).collect();
    assert!(wrong.is_empty(), "{} violations:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_module_of_the_map_has_a_floor_and_every_floor_its_modules() {
    let sources = sources();
    let map = tokens(&sources["lib.rs"]);
    let listed: Vec<&str> = map.windows(2).filter(|two| two[0].text == "mod").map(|two| two[1].text).collect();
    for module in &listed {
        assert!(floor_of(module).is_some(), "`{module}` of lib.rs has no floor");
    }
    for module in FLOORS.concat() {
        assert!(listed.contains(&module), "`{module}` is not in lib.rs");
    }
}

/// STYLE rule 2: a function that needs scrolling is two ideas.
#[test]
fn under_three_percent_of_the_functions_have_more_than_sixty_lines() {
    let sources = sources();
    let all: Vec<(String, usize)> = sources
        .iter()
        .flat_map(|(file, source)| {
            functions(source).into_iter().map(move |(name, line, lines)| (format!("src/{file}:{line} {name}"), lines))
        })
        .collect();
    let long: Vec<_> = all.iter().filter(|(_, lines)| *lines > 60).collect();
    assert!(all.len() > 300, "the functions are found");
    assert!(long.len() * 100 < all.len() * 3, "{} of {} functions: {long:?}", long.len(), all.len());
}

/// `main` is under 100 lines: words in, exit code out.
#[test]
fn main_is_short() {
    assert!(sources()["main.rs"].lines().count() < 100);
}

// the checker itself

fn says(file: &str, source: &str) -> Vec<String> {
    violations(file, source).iter().map(|wrong| format!("{}: {}", wrong.line, wrong.text)).collect()
}

#[test]
fn the_checker_sees_a_floor_that_imports_a_higher_one() {
    for source in [
        "use crate::engine::Mill;",
        "use crate::{model::Mail, engine::{Mill, Progress}};",
        "use crate::{\n    engine,\n};",
        "fn f() { crate::engine::run() }",
        "use super::super::engine::Mill;",
        "pub use crate::engine as e;",
        "mod inner { use super::super::super::engine::x; }",
        "#[cfg(test)]\nmod tests { use crate::engine::Mill; }",
        "fn f<'a>(x: &'a str) -> crate::engine::Mill { 'x' }",
        "const S: &str = \"\\\"\"; use crate::engine::Mill;",
        "const S: &str = r#\" \" \"#; use crate::engine::Mill;",
        "const C: char = '\"'; use crate::engine::Mill; const D: char = '\"';",
        "const B: u8 = b'\"'; use crate::engine::Mill; const D: u8 = b'\\'';",
        "/* a /* nested */ comment */ use crate::engine::Mill;",
    ] {
        let said = says("spool/claim.rs", source);
        assert!(
            said.iter().any(|text| text.contains("floor 1 (spool) imports floor 3 (engine)")),
            "{source}: {said:?}"
        );
    }
    assert_eq!(says("config.rs", "use super::cli::Exit;"), ["1: floor 1 (config) imports floor 4 (cli)"]);
    assert_eq!(
        says("pipeline/mod.rs", "\n\nuse super::engine::Mill;"),
        ["3: floor 2 (pipeline) imports floor 3 (engine)"]
    );
    assert_eq!(says("model/mail.rs", "use crate::store::Receipt;"), ["1: floor 0 (model) imports floor 1 (store)"]);
    assert_eq!(says("engine/mod.rs", "use crate::soap::Listener;"), ["1: `crate::soap` is no module with a floor"]);
    assert_eq!(says("engine/mod.rs", "use crate::smtp::Server;"), ["1: floor 3 (engine) imports floor 4 (smtp)"]);
    assert_eq!(says("engine/mod.rs", "use crate::*;"), ["1: `crate::*` is no module with a floor"]);
    assert_eq!(says("soap/mod.rs", "")[0].split(':').next(), Some("1"));
}

#[test]
fn the_checker_does_not_see_what_is_not_there() {
    for source in [
        "use crate::model::Mail; use crate::store::Receipt;",
        "// use crate::engine::Mill;",
        "/// See [`crate::engine::Mill`].\nfn f() {}",
        "/* use crate::engine::Mill; */",
        "const S: &str = \"use crate::engine::Mill;\";",
        "const S: &str = r#\"use \"crate::engine::Mill\";\"#;",
        "use super::names; use self::names::x; mod engine; fn f(engine: u8) {}",
        "mod inner { use super::names; }",
        "const S: &[u8] = b\"unsafe \\\" rocksdb mail_parser\";",
    ] {
        assert_eq!(says("spool/claim.rs", source), [""; 0], "{source}");
    }
}

#[test]
fn the_checker_sees_a_stage_that_names_another() {
    for (file, source) in [
        ("pipeline/plan.rs", "use crate::pipeline::parse::decode;"),
        ("pipeline/plan.rs", "use super::parse;"),
        ("pipeline/plan.rs", "use super::{route, plan};"),
        ("pipeline/plan/library.rs", "use super::super::parse;"),
        ("pipeline/plan/library.rs", "use crate::pipeline::parse;"),
        ("pipeline/plan/mod.rs", "fn f() { super::parse::decode() }"),
        ("pipeline/plan.rs", "use crate::pipeline::{self};"),
    ] {
        let said = says(file, source);
        assert!(said.iter().any(|text| text.contains("stage plan names")), "{file}: {source}: {said:?}");
    }
    assert_eq!(says("pipeline/plan/library.rs", "use super::names; use crate::pipeline::plan::Facts;"), [""; 0]);
    assert_eq!(says("engine/judge.rs", "use crate::pipeline::{parse, plan};"), [""; 0]);
}

#[test]
fn the_checker_sees_words_in_the_wrong_place() {
    assert_eq!(says("pipeline/plan.rs", "use mail_parser::Message;"), ["1: only pipeline/parse names mail_parser"]);
    assert_eq!(says("pipeline/parse/body.rs", "use mail_parser::Message;"), [""; 0]);
    assert_eq!(says("store/mod.rs", "fn f() -> rocksdb::DB {}"), ["1: only store/rocks.rs names rocksdb"]);
    assert_eq!(says("store/rocks.rs", "use rocksdb::DB;"), [""; 0]);
    assert_eq!(says("spool/names.rs", "\nunsafe fn f() {}"), ["2: only spool/raw.rs contains `unsafe`"]);
    assert_eq!(says("spool/raw.rs", "unsafe fn f() {}"), [""; 0]);
    assert_eq!(says("main.rs", "unsafe {}"), ["1: only spool/raw.rs contains `unsafe`"]);
    assert_eq!(says("lib.rs", "#![forbid(unsafe_code)]"), [""; 0]);
    for source in
        ["use std::fs;", "fn f() { std::time::Instant::now(); }", "use std::thread::spawn;", "Timestamp::now()"]
    {
        assert_eq!(says("model/mail.rs", source), ["1: floor 0 has no I/O, no threads, no clock"], "{source}");
    }
    assert_eq!(says("model/mail.rs", "use std::time::Duration;\n#[cfg(test)]\nmod tests { use std::fs; }"), [""; 0]);
}

#[test]
fn the_checker_measures_functions() {
    let source = "fn a() {\n}\nimpl X {\n    fn b(&self) -> u8 {\n        match 1 {\n            _ => 2,\n        }\n    }\n}\ntrait T { fn c(); }\n";
    let found = functions(source);
    assert_eq!(found, [("a".to_owned(), 1, 2), ("b".to_owned(), 4, 5)]);
    assert_eq!(functions("type F = fn(u8) -> u8; const S: &str = \"fn x() {\";"), []);
}
