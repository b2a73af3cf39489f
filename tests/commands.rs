//! What users type and what they read: every command of CONTRACT section "Commands", the configuration, and the exit codes.
//! What becomes of mail is the subject of the other files.
// A test that cannot go on says so by a panic, and looks at files as anybody would.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use common::*;
use serde_json::json;

fn init(dir: &Path) -> Answer {
    let mut command = mailmill();
    command.arg("init").arg(dir);
    answer(command)
}

fn help(words: &[String]) -> String {
    let mut command = mailmill();
    command.args(words).arg("--help");
    answer(command).ends(0).text()
}

/// The names of the commands in a help text.
fn subcommands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

fn every_command(above: &[String], all: &mut Vec<Vec<String>>) {
    for name in subcommands(&help(above)) {
        let words = [above, &[name]].concat();
        all.push(words.clone());
        every_command(&words, all);
    }
}

// init

#[test]
fn init_makes_a_configuration_a_drop_folder_and_a_store() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("new/mill");
    let made = init(&dir).ends(0);
    assert_eq!(made.text(), "", "what init says is for people");
    assert_eq!(names_in(&dir), ["drop", "mailmill.toml", "store"]);
    assert!(dir.join("drop").is_dir() && dir.join("store").is_dir());
}

#[test]
fn init_refuses_to_overwrite_and_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    init(root.path()).ends(0);
    fs::write(root.path().join("mailmill.toml"), "server = \"mine\"\n").unwrap();
    let before = listing(root.path());
    init(root.path()).ends(2).says("mailmill.toml");
    assert_eq!(listing(root.path()), before);
}

#[test]
fn init_without_a_folder_takes_the_working_folder() {
    let root = tempfile::tempdir().unwrap();
    let mut command = mailmill();
    command.arg("init").current_dir(root.path());
    answer(command).ends(0);
    assert_eq!(names_in(root.path()), ["drop", "mailmill.toml", "store"]);
}

#[test]
fn the_file_of_init_has_server_drop_folder_and_listen_live_and_all_else_commented() {
    let root = tempfile::tempdir().unwrap();
    init(root.path()).ends(0);
    let file = fs::read_to_string(root.path().join("mailmill.toml")).unwrap();
    let keys = |lines: &mut dyn Iterator<Item = &str>| -> Vec<String> {
        lines.filter_map(|line| line.split_once(" = ")).map(|(key, _)| key.to_owned()).collect()
    };
    let is_key = |line: &&str| line.starts_with(|c: char| c.is_ascii_lowercase());
    assert_eq!(keys(&mut file.lines().filter(is_key)), ["server", "drop_folder", "listen"]);
    let commented: BTreeSet<String> =
        keys(&mut file.lines().filter_map(|line| line.strip_prefix("# ")).filter(is_key)).into_iter().collect();
    for key in [
        "store",
        "enabled",
        "mode",
        "writers",
        "settle_time",
        "display_address",
        "accepted_domains",
        "address_prefix",
        "no_envelope",
        "keep",
        "keep_for",
        "alert_silence",
    ] {
        assert!(commented.contains(key), "{key} is not shown in:\n{file}");
    }
    for section in ["[incoming]", "[limits]", "[smtp]"] {
        assert!(file.lines().any(|line| line == section), "{section}");
    }
}

#[test]
fn every_line_that_init_comments_out_can_be_made_live_and_is_the_default() {
    let server = Server::new();
    server.good(&["init", server.path("b").to_str().unwrap()]);
    let file = fs::read_to_string(server.path("b/mailmill.toml")).unwrap();
    let live: Vec<&str> = file
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase()) && rest.contains(" = ") => rest,
            _ => line,
        })
        .filter(|line| !line.contains("staff"))
        .collect();
    fs::write(server.path("b/mailmill.toml"), live.join("\n")).unwrap();
    let mut command = mailmill();
    command.arg("--config").arg(server.path("b/mailmill.toml")).args(["run", "--json"]);
    assert_eq!(Sheet::of(&answer(command)).ends(), "0 found: ");
}

// configuration

#[test]
fn the_configuration_is_named_by_option_then_variable_then_the_working_folder() {
    let [one, two, three] = [(); 3].map(|()| Server::new());
    for (server, name) in [(&one, "one"), (&two, "two"), (&three, "three")] {
        fs::write(server.path("mailmill.toml"), format!("server = \"{name}\"\n")).unwrap();
    }
    let server_of = |command: &mut Command| {
        let mut again = mailmill();
        again.args(command.get_args()).args(["status", "--json"]).current_dir(three.root.path());
        for (name, value) in command.get_envs() {
            again.env(name, value.unwrap_or_default());
        }
        text(&answer(again).ends(0).only()["server"])
    };
    let mut command = Command::new("x");
    assert_eq!(server_of(&mut command), "three");
    command.env("MAILMILL_CONFIG", two.path("mailmill.toml"));
    assert_eq!(server_of(&mut command), "two");
    command.arg("--config").arg(one.path("mailmill.toml"));
    assert_eq!(server_of(&mut command), "one");
}

#[test]
fn without_a_configuration_the_places_looked_at_are_named() {
    if Path::new("/etc/mailmill/mailmill.toml").exists() {
        return skipped("this machine has /etc/mailmill/mailmill.toml");
    }
    let root = tempfile::tempdir().unwrap();
    let mut command = mailmill();
    command.args(["run", "--json"]).current_dir(root.path());
    let answer = answer(command).ends(2).says("mailmill.toml").says("/etc/mailmill/mailmill.toml");
    assert_eq!(answer.text(), "");
    assert_eq!(names_in(root.path()), [""; 0]);
}

#[test]
fn a_configuration_that_is_not_there_is_named() {
    let mut command = mailmill();
    command.args(["--config", "/nowhere/at/all.toml", "list", "ls"]);
    answer(command).ends(2).says("/nowhere/at/all.toml");
}

#[test]
fn relative_paths_are_relative_to_the_configuration() {
    let server = Server::with("store = \"a/b\"\n[incoming]\ndrop_folder = \"in\"\n");
    fs::create_dir(server.path("in")).unwrap();
    server.list("news", "announcements", &[]);
    put(&server.path("in"), "x.eml", letter("relative", &["news"]));
    let elsewhere = tempfile::tempdir().unwrap();
    let mut command = server.command(&["run", "--json"]);
    command.current_dir(elsewhere.path());
    assert_eq!(Sheet::of(&answer(command)).ends(), "1 found: 1 delivered");
    assert_eq!(names_in(elsewhere.path()), [""; 0]);
    assert!(server.path("a/b").is_dir());
}

#[test]
fn a_wrong_configuration_names_file_line_and_the_nearest_known_key() {
    for (settings, line, parts) in [
        ("sever = \"x\"", 2, &["`sever`", "`server`"][..]),
        ("[incoming]\ndrop_foldr = \"x\"", 3, &["`drop_foldr`", "`drop_folder`"]),
        ("\n[incomming]\nenabled = true", 3, &["`incomming`", "`incoming`"]),
        ("[limits]\nmemery = 1", 3, &["`memery`", "`memory`"]),
        ("[smtp]\nlissen = []", 3, &["`lissen`", "`listen`"]),
        ("[limits]\nmemory = \"lots\"", 3, &["lots"]),
        ("[incoming]\nenabled = \"maybe\"", 3, &["maybe"]),
        ("[incoming]\nmode = \"half\"", 3, &["half", "advanced", "automatic"]),
        ("[incoming]\nkeep = \"always\"", 3, &["always", "remove", "done"]),
        ("[incoming]\nno_envelope = \"guess\"", 3, &["guess", "refuse", "headers"]),
        ("[incoming]\nsettle_time = \"2 parsecs\"", 3, &["parsecs"]),
        ("[incoming", 2, &[]),
        ("[incoming]\nmode = \"automatic\"\ndrop_folder = \"/x\"", 4, &["drop_folder", "advanced"]),
        ("[smtp]\nsafe_servers = [\"10.0.0.1\"]", 3, &["safe_servers", "automatic"]),
    ] {
        let server = Server::with(settings);
        let answer = server.ask(&["run", "--json"]).ends(2);
        assert_eq!(answer.text(), "", "{settings}");
        let place = format!("{}:{line}", server.path("mailmill.toml").display());
        for part in parts.iter().chain(&[place.as_str()]) {
            assert!(answer.stderr.contains(part), "{settings}: `{part}` is not in {}", answer.stderr);
        }
    }
}

#[test]
fn every_key_can_be_given_by_the_environment_which_wins() {
    let server = Server::with("[incoming]\ndrop_folder = \"nowhere\"\n[limits]\nsettle_threads = 2\n");
    server.list("news", "announcements", &[]);
    server.put("x.eml", letter("by variable", &["news@a.example"]));
    let mut command = server.command(&["run", "--json"]);
    command.env("MAILMILL_INCOMING__DROP_FOLDER", server.drop_folder());
    command.env("MAILMILL_SERVER", "from-outside");
    command.env("MAILMILL_INCOMING__ACCEPTED_DOMAINS", "[\"a.example\"]");
    command.env("MAILMILL_INCOMING__SETTLE_TIME", "1s").env("MAILMILL_LIMITS__MEMORY", "64MiB");
    let sheet = Sheet::of(&answer(command));
    assert_eq!(sheet.ends(), "1 found: 1 delivered");
    assert_eq!(sheet.value["server"], "from-outside");
}

#[test]
fn a_wrong_variable_is_named_with_the_nearest_known_key() {
    let server = Server::new();
    for (name, value, near) in [
        ("MAILMILL_INCOMING__DROP_FOLDR", "/x", "drop_folder"),
        ("MAILMILL_SEVER", "x", "server"),
        ("MAILMILL_LIMITS__MEMORY", "lots", "lots"),
    ] {
        let mut command = server.command(&["list", "ls"]);
        command.env(name, value);
        answer(command).ends(2).says(name).says(near);
    }
}

#[test]
fn a_variable_that_does_not_belong_to_the_mode_is_named() {
    let server = Server::new();
    let mut command = server.command(&["list", "ls"]);
    command.env("MAILMILL_SMTP__SAFE_SERVERS", "[\"10.0.0.1\"]");
    answer(command).ends(2).says("MAILMILL_SMTP__SAFE_SERVERS");
}

#[test]
fn switched_off_run_and_watch_do_nothing_and_say_so() {
    let server = Server::with("[incoming]\nenabled = false\n");
    server.put("x.eml", letter("off", &["news"]));
    let before = listing(&server.drop_folder());
    let sheet = server.run();
    assert_eq!(sheet.ends(), "0 found: ");
    assert!(sheet.stderr.contains("enabled = false"), "{}", sheet.stderr);
    server.good(&["run"]).says("enabled = false");
    server.good(&["run", "--dry-run"]).says("enabled = false");
    server.good(&["watch"]).says("enabled = false");
    assert_eq!(listing(&server.drop_folder()), before);
}

// help

#[test]
fn the_help_of_every_command_has_an_example() {
    let mut all = vec![Vec::new()];
    every_command(&[], &mut all);
    assert!(all.len() > 30, "{all:?}");
    for words in all {
        let help = help(&words);
        let example = help.lines().skip_while(|line| !line.contains("Example")).any(|line| line.contains("mailmill"));
        assert!(example, "mailmill {} --help has no example:\n{help}", words.join(" "));
    }
}

#[test]
fn all_commands_of_the_contract_are_there() {
    let mut all = Vec::new();
    every_command(&[], &mut all);
    let all: BTreeSet<String> = all.iter().map(|words| words.join(" ")).collect();
    for command in [
        "init",
        "run",
        "watch",
        "status",
        "stop",
        "import",
        "list create",
        "list set",
        "list show",
        "list ls",
        "list delete",
        "list apply",
        "items",
        "show",
        "export",
        "cat",
        "failed ls",
        "failed show",
        "failed retry",
        "failed discard",
        "trace",
        "history",
        "verify",
        "backup",
        "restore",
        "reclaim",
        "doctor",
        "gen",
        "demo",
    ] {
        assert!(all.contains(command), "{command} is not in {all:?}");
    }
}

#[test]
fn serve_smtp_and_bench_are_there() {
    let all = subcommands(&help(&[]));
    for command in ["serve", "smtp", "bench"] {
        assert!(all.iter().any(|name| name == command), "{command} is not in {all:?}");
    }
}

#[test]
fn completions_and_man_pages_know_every_command() {
    let server = Server::new();
    let mut all = Vec::new();
    every_command(&[], &mut all);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = server.good(&["completions", shell]).text();
        for words in &all {
            assert!(script.contains(words.last().unwrap()), "{shell}: {words:?}");
        }
    }
    let dir = server.path("man");
    server.good(&["man", dir.to_str().unwrap()]);
    let pages = names_in(&dir);
    assert!(pages.contains(&"mailmill.1".to_owned()), "{pages:?}");
    for words in &all {
        let page = format!("mailmill-{}.1", words.join("-"));
        assert!(pages.contains(&page), "{page} is not in {pages:?}");
    }
    server.ask(&["completions", "tcsh"]).ends(2).says("bash");
}

// lists

#[test]
fn a_list_of_every_kind_can_be_made_shown_and_deleted() {
    let server = Server::new();
    for kind in KINDS {
        let made = server.only(&["list", "create", kind, "--kind", kind, "--address", kind, "--json"]);
        assert_eq!((text(&made["name"]), text(&made["kind"]), text(&made["address"])).0, kind);
        assert_eq!(server.only(&["list", "show", kind, "--json"]), made);
    }
    let names: Vec<_> = server.objects(&["list", "ls", "--json"]).iter().map(|list| text(&list["name"])).collect();
    let mut sorted = KINDS.map(str::to_owned);
    sorted.sort();
    assert_eq!(names, sorted);
    for kind in KINDS {
        server.good(&["list", "delete", kind]);
        server.ask(&["list", "show", kind]).ends(2).says(kind);
    }
    assert_eq!(server.objects(&["list", "ls", "--json"]).len(), 0);
    let wrong = server.ask(&["list", "create", "x", "--kind", "survey", "--address", "x"]).ends(2).says("survey");
    for kind in KINDS {
        assert!(wrong.stderr.contains(kind), "{kind}: {}", wrong.stderr);
    }
}

#[test]
fn a_new_list_has_the_defaults_of_the_contract() {
    let server = Server::new();
    let list = server.only(&["list", "create", "n", "--kind", "blog", "--address", "n", "--json"]);
    for (key, value) in [
        ("receive", json!(true)),
        ("aliases", json!([])),
        ("attachments", json!(true)),
        ("folders", json!("root")),
        ("overwrite", json!(false)),
        ("save_original", json!(false)),
        ("save_meetings", json!(false)),
        ("senders", json!("members")),
        ("members", json!([])),
        ("owners", json!([])),
        ("automatic", json!(true)),
        ("blocked_types", json!([])),
    ] {
        assert_eq!(list[key], value, "{key}");
    }
    has_keys(&list, &["max_size", "max_attachment_size"]);
}

#[test]
fn settings_are_toml_values_and_bare_words_are_strings() {
    let server = Server::new();
    let words = ["list", "create", "docs", "--kind", "document-library", "--address", "docs", "--json"];
    let settings = [
        "senders=any",
        "members=[\"a@b.example\", '@c.example', \"staff\"]",
        "overwrite=true",
        "folders=subject",
        "max_size=25MiB",
        "max_attachment_size=1000",
        "blocked_types=[\"exe\"]",
        "aliases=[\"papers\"]",
    ];
    let list = server.only(&[&words[..], &settings].concat());
    assert_eq!(list["members"], json!(["a@b.example", "@c.example", "staff"]));
    assert_eq!((&list["overwrite"], &list["folders"]), (&json!(true), &json!("subject")));
    let list = server.only(&["list", "set", "docs", "folders=sender", "overwrite=false", "--json"]);
    assert_eq!(
        (&list["overwrite"], &list["folders"], &list["senders"]),
        (&json!(false), &json!("sender"), &json!("any"))
    );
    assert_eq!(list["aliases"], json!(["papers"]));
}

#[test]
fn a_wrong_setting_is_refused_whole_and_an_unknown_key_names_the_nearest() {
    let server = Server::new();
    server.list("news", "announcements", &[]);
    let before = server.only(&["list", "show", "news", "--json"]);
    for (setting, part) in [
        ("overwite=true", "`overwrite`"),
        ("sender=any", "`senders`"),
        ("senders=everybody", "everybody"),
        ("overwrite=perhaps", "overwrite"),
        ("folders=date", "date"),
        ("max_size=9 parsecs", "max_size"),
        ("members=ann", "members"),
        ("just-a-word", "just-a-word"),
        ("address=\"two words\"", "two words"),
        ("address=\"\"", "address"),
    ] {
        server.ask(&["list", "set", "news", "save_original=true", setting]).ends(2).says(part);
        let create = ["list", "create", "other", "--kind", "blog", "--address", "other", setting];
        server.ask(&create).ends(2).says(part);
    }
    assert_eq!(server.only(&["list", "show", "news", "--json"]), before);
    server.ask(&["list", "show", "other"]).ends(2);
    server.ask(&["list", "set", "nobody", "senders=any"]).ends(2).says("nobody");
    server.ask(&["list", "delete", "nobody"]).ends(2).says("nobody");
}

#[test]
fn addresses_are_unique_whatever_their_case_and_postmaster_is_refused() {
    let server = Server::new();
    server.list("News", "announcements", &["aliases=[\"tidings\", \"x@special.example\"]"]);
    server.list("blog", "blog", &[]);
    for address in ["news", "NEWS", "Tidings", "X@Special.Example"] {
        let create = ["list", "create", "other", "--kind", "blog", "--address", address];
        server.ask(&create).ends(2).says(address).says("News");
        server.ask(&["list", "set", "blog", &format!("address=\"{address}\"")]).ends(2).says("News");
        server.ask(&["list", "set", "blog", &format!("aliases=[\"{address}\"]")]).ends(2).says("News");
        fs::write(server.path("l.toml"), format!("[other]\nkind = \"blog\"\naddress = \"{address}\"\n")).unwrap();
        server.ask(&["list", "apply", server.path("l.toml").to_str().unwrap()]).ends(2).says("News");
    }
    server.ask(&["list", "set", "blog", "aliases=[\"a\", \"A\"]"]).ends(2);
    server.ask(&["list", "create", "news", "--kind", "blog", "--address", "free"]).ends(2).says("news");
    for address in ["postmaster", "Postmaster", "POSTMASTER@lists.example"] {
        server.ask(&["list", "create", "p", "--kind", "blog", "--address", address]).ends(2).says(address);
        server.ask(&["list", "set", "blog", &format!("aliases=[\"{address}\"]")]).ends(2);
    }
    assert_eq!(server.objects(&["list", "ls", "--json"]).len(), 2);
    // One that is given up is free again.
    server.good(&["list", "set", "News", "address=newer"]);
    server.list("news2", "blog", &["aliases=[\"NEWS\"]"]);
}

#[test]
fn what_list_show_prints_can_be_applied() {
    let server = Server::new();
    server.list("docs", "document-library", &["folders=sender", "members=[\"@a.example\"]", "max_size=3MiB"]);
    let before = server.only(&["list", "show", "docs", "--json"]);
    let shown = server.good(&["list", "show", "docs"]).text();
    let file = server.path("docs.toml");
    fs::write(&file, &shown).unwrap();
    let apply = ["list", "apply", file.to_str().unwrap(), "--json"];
    assert_eq!(server.objects(&apply), [json!({ "list": "docs", "change": "unchanged" })]);
    server.good(&["list", "delete", "docs"]);
    assert_eq!(server.objects(&apply), [json!({ "list": "docs", "change": "created" })]);
    let mut after = server.only(&["list", "show", "docs", "--json"]);
    after["id"] = before["id"].clone();
    assert_eq!(after, before);
}

#[test]
fn apply_is_declarative_and_may_be_repeated() {
    let server = Server::new();
    server.list("kept", "blog", &[]);
    let file = server.path("lists.toml");
    let apply = |text: &str| {
        fs::write(&file, text).unwrap();
        server.ask(&["list", "apply", file.to_str().unwrap(), "--json"])
    };
    let changes = |text: &str| -> Vec<String> {
        apply(text)
            .ends(0)
            .objects()
            .iter()
            .map(|row| format!("{} {}", text_of(row, "list"), text_of(row, "change")))
            .collect()
    };
    let text_one =
        "[a]\nkind = \"blog\"\naddress = \"a\"\nsenders = \"any\"\n[b]\nkind = \"calendar\"\naddress = \"b\"\n";
    assert_eq!(changes(text_one), ["a created", "b created"]);
    assert_eq!(changes(text_one), ["a unchanged", "b unchanged"]);
    // What is not named any more is the default again; a list that is not named stays.
    assert_eq!(changes("[a]\nkind = \"blog\"\naddress = \"a\"\n"), ["a changed"]);
    assert_eq!(server.only(&["list", "show", "a", "--json"])["senders"], "members");
    assert_eq!(server.objects(&["list", "ls", "--json"]).len(), 3);
    let before = server.objects(&["list", "ls", "--json"]);
    for (text, part) in [
        ("[a]\nkind = \"blog\"\naddress = \"a\"\noverwite = true\n", "`overwrite`"),
        ("[a]\nkind = \"blogg\"\naddress = \"a\"\n", "blogg"),
        ("[a]\naddress = \"a\"\n", "kind"),
        ("[a]\nkind = \"calendar\"\naddress = \"a\"\n", "kind"),
        ("[c]\nkind = \"calendar\"\n", "address"),
        ("a = 1\n", "a"),
        ("[a\n", "lists.toml"),
    ] {
        apply(text).ends(2).says(part);
        assert_eq!(server.objects(&["list", "ls", "--json"]), before, "{text}");
    }
    server.ask(&["list", "apply", "/nowhere.toml"]).ends(2).says("/nowhere.toml");
}

fn text_of(value: &serde_json::Value, key: &str) -> String {
    text(&value[key])
}

#[test]
fn apply_may_be_repeated_with_an_address_prefix() {
    let server = Server::with("[incoming]\naddress_prefix = \"sp-\"\n");
    let file = server.path("lists.toml");
    fs::write(&file, "[a]\nkind = \"blog\"\naddress = \"a\"\n").unwrap();
    let apply = ["list", "apply", file.to_str().unwrap(), "--json"];
    server.good(&apply);
    assert_eq!(server.only(&["list", "show", "a", "--json"])["address"], "sp-a");
    assert_eq!(server.objects(&apply), [json!({ "list": "a", "change": "unchanged" })]);
    assert_eq!(server.only(&["list", "show", "a", "--json"])["address"], "sp-a");
}

#[test]
fn apply_of_a_file_that_is_refused_changes_nothing() {
    let server = Server::new();
    server.list("news", "announcements", &[]);
    let file = server.path("lists.toml");
    fs::write(&file, "[a]\nkind = \"blog\"\naddress = \"a\"\n[b]\nkind = \"blog\"\naddress = \"NEWS\"\n").unwrap();
    server.ask(&["list", "apply", file.to_str().unwrap()]).ends(2).says("NEWS");
    assert_eq!(server.objects(&["list", "ls", "--json"]).len(), 1);
}

#[test]
fn the_address_prefix_goes_before_every_new_address() {
    let server = Server::with("[incoming]\naddress_prefix = \"sp-\"\n");
    server.list("news", "announcements", &[]);
    assert_eq!(server.only(&["list", "show", "news", "--json"])["address"], "sp-news");
    server.put("x.eml", letter("prefixed", &["sp-news", "news"]));
    let sheet = server.run();
    assert_eq!(sheet.problem("news@lists.example")["reason"], "unknown-address");
    assert_eq!(server.titles("news"), ["prefixed"]);
}

#[test]
fn a_deleted_list_is_gone_with_its_items_and_its_bytes_are_garbage() {
    let server = Server::with_news();
    server.put("x.eml", letter("gone", &["news"]).attach("a.bin", noise(1, 9000)));
    server.run();
    assert_eq!(server.only(&["list", "delete", "news", "--json"])["list"], "news");
    let report = server.only(&["verify", "--json"]);
    assert_eq!((&report["sound"], &report["items"]), (&json!(true), &json!(0)));
    assert_eq!(report["garbage"], 1, "{report}");
    assert_eq!(report["garbage_bytes"], 9000, "{report}");
    assert_eq!(server.only(&["verify", "--json", "--repair"])["sound"], true);
    assert_eq!(server.only(&["verify", "--json"])["garbage"], 0);
    // Its namesake starts anew, and the same bytes are no duplicate there.
    server.list("news", "announcements", &[]);
    assert_eq!(server.items("news").len(), 0);
    server.put("x.eml", letter("gone", &["news"]).attach("a.bin", noise(1, 9000)));
    assert_eq!(server.run().ends(), "1 found: 1 delivered");
    assert_eq!(server.cat("news", 1, "a.bin"), noise(1, 9000));
    server.is_sound();
}

// reading

#[test]
fn items_show_and_export_tell_the_same_of_an_item() {
    let server = Server::with_news();
    for number in 1..=5 {
        server.put(format!("{number}.eml"), letter(&format!("number {number}"), &["news"]));
        server.run();
    }
    let items = server.items("news");
    assert_eq!(items.iter().map(|item| number(&item["id"])).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(server.objects(&["export", "news"]), items);
    for item in &items {
        assert_eq!(server.only(&["show", "news", &item["id"].to_string(), "--json"]), *item);
    }
    assert_eq!(server.objects(&["items", "news", "--json", "--limit", "2"]), items[..2]);
    let shown = server.good(&["show", "news", "3"]).text();
    assert!(shown.contains("number 3") && shown.contains("This is number 3."), "{shown}");
    assert_eq!(server.good(&["items", "news"]).text().lines().count(), 5);
}

#[test]
fn what_is_not_there_is_wrong_usage_and_named() {
    let server = Server::with_news();
    server.put("x.eml", letter("only", &["news"]).attach("a.txt", "a"));
    server.run();
    for (words, part) in [
        (&["items", "nobody"][..], "nobody"),
        (&["show", "nobody", "1"], "nobody"),
        (&["show", "news", "99", "--json"], "99"),
        (&["show", "news", "first"], "first"),
        (&["export", "nobody"], "nobody"),
        (&["export", "news", "--to", "x"], "news"),
        (&["cat", "news", "1", "b.txt"], "b.txt"),
        (&["cat", "news", "1", "2"], "2"),
        (&["cat", "news", "1", "original"], "original"),
        (&["cat", "news", "7"], "7"),
        (&["failed", "show", "9-9"], "9-9"),
        (&["failed", "discard", "9-9"], "9-9"),
        (&["failed", "retry", "9-9"], "9-9"),
        (&["failed", "retry", "--reason", "no-reason"], "unknown-address"),
        (&["failed", "ls", "--reason", "no-reason"], "unknown-address"),
        (&["trace", "nothing@of.this"], "nothing@of.this"),
        (&["reclaim", "--server", "other", "--store-lost"], "other"),
    ] {
        let answer = server.ask(words);
        assert_eq!(answer.text(), "", "{words:?}");
        // reclaim of an unknown server says so, whatever its code (below).
        let code = if words[0] == "reclaim" { answer.code } else { 2 };
        answer.ends(code).says(part);
    }
}

#[test]
fn reclaim_of_a_server_that_never_was_is_wrong_usage() {
    let server = Server::new();
    server.run();
    server.ask(&["reclaim", "--server", "other", "--store-lost"]).ends(2).says("other");
}

#[test]
fn history_has_each_batch_that_found_something_newest_first() {
    let server = Server::with_news();
    server.run();
    let mut sheets = Vec::new();
    for name in ["a", "b", "c"] {
        server.put(format!("{name}.eml"), letter(name, &["news", "nobody"]));
        sheets.insert(0, server.run().value);
    }
    assert_eq!(server.objects(&["history", "--json"]), sheets);
    assert_eq!(server.objects(&["history", "--json", "--limit", "2"]), sheets[..2]);
    let table = server.good(&["history"]).text();
    assert_eq!(table.lines().count(), 4, "{table}");
}

#[test]
fn trace_tells_of_a_mail_by_message_id_and_mail_id() {
    let server = Server::with_news();
    let mail = letter("traced", &["news", "nobody"]).iis();
    server.put("x.eml", mail.clone());
    server.run();
    server.put("again.eml", mail.clone());
    server.run();
    let told = server.objects(&["trace", "traced@example.org", "--json"]);
    assert_eq!(server.objects(&["trace", "<traced@example.org>", "--json"]), told);
    assert_eq!(server.objects(&["trace", &mail_id(&mail), "--json"]), told);
    let outcomes: Vec<_> = told.iter().map(|event| text(&event["outcome"])).collect();
    for outcome in ["delivered", "refused", "duplicate"] {
        assert!(outcomes.iter().any(|known| known == outcome), "{outcome}: {told:?}");
    }
    let delivered = told.iter().find(|event| event["outcome"] == "delivered").unwrap();
    assert_eq!((&delivered["list"], &delivered["item"]), (&json!("news"), &json!(1)));
    let refused = told.iter().find(|event| event["outcome"] == "refused").unwrap();
    assert_eq!((text(&refused["reason"]), text(&refused["recipient"])).0, "unknown-address");
    assert!(server.good(&["trace", "traced@example.org"]).text().contains("nobody@lists.example"));
}

#[test]
fn trace_tells_of_an_address_where_it_leads_and_what_was_refused() {
    let server = Server::with_news();
    server.put("x.eml", letter("x", &["nobody"]));
    server.run();
    let told = server.objects(&["trace", "nobody@lists.example", "--json"]);
    assert_eq!(text(&told[0]["reason"]), "unknown-address");
    let told = server.objects(&["trace", "ann@example.org", "--json"]);
    assert_eq!(text(&told[0]["recipient"]), "nobody@lists.example");
    let told = server.objects(&["trace", "NEWS@anything.example", "--json"]);
    assert_eq!(text(&told[0]["list"]), "news");
}

#[test]
fn trace_tells_of_an_address_what_was_delivered() {
    let server = Server::with_news();
    server.put("x.eml", letter("x", &["news"]));
    server.run();
    for address in ["ann@example.org", "news@lists.example"] {
        let told = server.objects(&["trace", address, "--json"]);
        assert!(told.iter().any(|event| event["outcome"] == "delivered"), "{address}: {told:?}");
    }
}

#[test]
fn json_is_one_object_a_line_and_standard_output_has_nothing_else() {
    let server = Server::with_news();
    server.list("docs", "document-library", &[]);
    server.put("a.eml", letter("a", &["news", "docs", "nobody"]).attach("a.txt", "a"));
    server.put("b.eml", letter("b", &["nobody"]));
    server.put("c.eml", letter("c", &["nobody"]));
    server.batch(&["run", "--dry-run", "--json"]);
    server.run();
    let failed = text(&server.failed()[0]["id"]);
    let other = text(&server.failed()[1]["id"]);
    fs::write(server.path("one.eml"), letter("one", &[]).mail()).unwrap();
    let one = server.path("one.eml");
    for (words, lines) in [
        (&["items", "news", "--json"][..], 1),
        (&["show", "news", "1", "--json"], 1),
        (&["export", "news"], 1),
        (&["failed", "ls", "--json"], 3),
        (&["failed", "show", &failed, "--json"], 1),
        (&["failed", "discard", &other, "--json"], 1),
        (&["history", "--json"], 1),
        (&["trace", "nobody@lists.example", "--json"], 3),
        (&["verify", "--json"], 1),
        (&["status", "--json"], 1),
        (&["import", one.to_str().unwrap(), "--list", "news", "--json"], 1),
        (&["list", "ls", "--json"], 2),
        (&["list", "show", "news", "--json"], 1),
        (&["list", "create", "t", "--kind", "blog", "--address", "t", "--json"], 1),
        (&["list", "set", "t", "senders=any", "--json"], 1),
        (&["list", "delete", "t", "--json"], 1),
    ] {
        assert_eq!(server.objects(words).len(), lines, "{words:?}");
    }
    assert!(server.objects(&["doctor", "--json"]).len() > 5);
    server.batch(&["failed", "retry", "--json"]);
    // Without --json, what is no answer is for people: standard error.
    for words in
        [&["run"][..], &["import", one.to_str().unwrap(), "--list", "news"], &["list", "set", "news", "receive=true"]]
    {
        assert_eq!(server.good(words).text(), "", "{words:?}");
    }
    server.put("d.eml", letter("d", &["nobody"]));
    let answer = server.ask(&["run"]).ends(3).says("unknown-address");
    assert_eq!(answer.text(), "");
}

#[test]
fn on_a_pipe_a_good_batch_says_nothing_and_quiet_says_nothing_but_errors() {
    let server = Server::with_news();
    for number in 0..300 {
        server.put(format!("{number}.eml"), letter(&format!("{number}"), &["news"]));
    }
    let answer = server.good(&["run"]);
    assert_eq!((answer.text(), answer.stderr.as_str()), (String::new(), ""), "cron sends mail of every word");
    server.put("bad.eml", letter("bad", &["nobody"]));
    let answer = server.ask(&["run", "-q"]).ends(3);
    assert_eq!((answer.text(), answer.stderr.as_str()), (String::new(), ""));
    server.ask(&["items", "nobody", "-q"]).ends(2).says("nobody");
    server.put("bad.eml", letter("bad again", &["nobody"]));
    let answer = server.ask(&["-vv", "run", "--json"]).ends(3);
    answer.only();
}

// exit codes

#[test]
fn exit_codes_are_those_of_the_contract() {
    let server = Server::with_news();
    server.ask(&["run"]).ends(0);
    server.put("good.eml", letter("good", &["news"]));
    server.ask(&["run"]).ends(0);
    server.put("twice.eml", letter("good", &["news"]));
    server.ask(&["run"]).ends(0);
    server.put("bad.eml", letter("bad", &["nobody"]));
    server.ask(&["run"]).ends(3);
    server.ask(&["run"]).ends(0);
    for words in [
        &["frobnicate"][..],
        &[],
        &["run", "--lots"],
        &["run", "--limit", "few"],
        &["run", "--wait", "soon"],
        &["list"],
        &["list", "create", "x"],
        &["import", "x.eml"],
        &["watch", "--every", "0"],
        &["watch", "--every", "soon"],
        &["reclaim", "--server", "x"],
        &["failed", "discard"],
    ] {
        assert_eq!(server.ask(words).ends(2).text(), "", "{words:?}");
    }
    fs::rename(server.drop_folder(), server.path("moved")).unwrap();
    let sheet = server.ask(&["run", "--json"]).ends(1).says("drop").only();
    assert_eq!(sheet["found"], 0, "the sheet is printed all the same");
    server.ask(&["run"]).ends(1);
}

// backup, verify, reclaim, doctor

#[test]
fn a_backup_is_restored_with_a_new_uuid_and_everything_in_it() {
    let server = Server::with_news();
    server.list("docs", "document-library", &[]);
    server.put("x.eml", letter("x", &["news", "docs"]).attach("a.bin", noise(3, 70_000)));
    server.run();
    let (items, label) = (server.items("news"), server.own_folder());
    let backup = server.path("backup");
    server.good(&["backup", backup.to_str().unwrap()]);
    server.put("later.eml", letter("later", &["news"]));
    server.run();
    assert_ne!(server.ask(&["backup", backup.to_str().unwrap()]).code, 0, "a backup is never written over");
    assert_ne!(server.ask(&["restore", backup.to_str().unwrap()]).code, 0, "a store is never written over");
    assert_eq!(server.titles("news"), ["x", "later"]);
    fs::rename(server.path("store"), server.path("old")).unwrap();
    assert_ne!(server.ask(&["restore", "/nowhere"]).code, 0);
    server.good(&["restore", backup.to_str().unwrap()]);
    assert_eq!(server.items("news"), items);
    assert_eq!(server.cat("docs", 1, "a.bin"), noise(3, 70_000));
    server.is_sound();
    server.put("again.eml", letter("x", &["news", "docs"]).attach("a.bin", noise(3, 70_000)));
    assert_eq!(server.run().ends(), "1 found: 1 duplicates");
    let folders = names_in(&server.drop_folder().join(".mailmill"));
    assert_eq!(folders.len(), 2, "a restored store has a claim folder of its own: {folders:?}");
    assert!(folders.contains(&label.file_name().unwrap().to_string_lossy().into_owned()));
    // On another machine: a new server, made by init, takes it.
    let other = Server::new();
    other.good(&["restore", backup.to_str().unwrap()]);
    assert_eq!(other.items("news"), items);
    other.is_sound();
    // The backup is a store of its own: it can be restored again.
    fs::rename(server.path("store"), server.path("second")).unwrap();
    server.good(&["restore", backup.to_str().unwrap()]);
    assert_eq!(server.items("news"), items);
}

#[test]
fn a_backup_or_restore_that_would_overwrite_is_wrong_usage() {
    let server = Server::with_news();
    let backup = server.path("backup");
    server.good(&["backup", backup.to_str().unwrap()]);
    server.ask(&["restore", "/nowhere"]).ends(2);
    server.ask(&["restore", backup.to_str().unwrap()]).ends(2);
    server.ask(&["backup", backup.to_str().unwrap()]).ends(2);
}

#[test]
fn verify_finds_bytes_that_are_not_what_they_were() {
    let server = Server::with_news();
    let marked = [b"MARK".repeat(5000), noise(4, 50_000)].concat();
    server.put("x.eml", letter("x", &["news"]).attach("a.bin", &marked));
    server.run();
    // Opened once more as after a kill, so that the bytes lie in a table or blob file and no longer in the log alone.
    fs::remove_file(server.path("store").join("log")).unwrap();
    server.is_sound();
    let mut spoilt = 0;
    for path in files_below(&server.path("store")) {
        let mut bytes = fs::read(&path).unwrap();
        let is_here = bytes.windows(20).position(|window| window == b"MARKMARKMARKMARKMARK");
        if let Some(at) = is_here {
            bytes[at + 100] ^= 1;
            fs::write(&path, bytes).unwrap();
            spoilt += 1;
        }
    }
    if spoilt == 0 {
        return skipped("the store keeps these bytes compressed: they cannot be found and spoilt from outside");
    }
    let answer = server.ask(&["verify", "--json"]).ends(1);
    assert!(!answer.stderr.is_empty() || answer.only()["sound"] == false);
    assert_ne!(server.ask(&["cat", "news", "1", "a.bin"]).stdout, marked);
}

#[test]
fn a_log_that_was_spoilt_at_rest_is_said_by_every_command_and_no_mail_goes_lost_for_it() {
    // Nothing repeats in it: an item is packed, and this part of it stands there as it is.
    const MARK: &str = "Xk3Pv9Qm1Zt7Lw5Rb8Yd";
    let server = Server::with_news();
    server.put("x.eml", letter(MARK, &["news"]));
    server.run();
    let logs = files_below(&server.path("store/db"));
    let spoilt = logs.iter().filter(|path| path.extension().is_some_and(|end| end == "log")).any(|path| {
        let mut bytes = fs::read(path).unwrap();
        let at = bytes.windows(20).position(|window| window == MARK.as_bytes());
        at.is_some_and(|at| {
            bytes[at] ^= 1;
            fs::write(path, bytes).is_ok()
        })
    });
    assert!(spoilt, "a fresh mail lies in the log");
    server.put("y.eml", letter("y", &["news"]));
    for command in [&["run"][..], &["items", "news"], &["verify"]] {
        let answer = server.ask(command).ends(1);
        assert!(answer.stderr.contains("its log was damaged after the last process ended"), "{}", answer.stderr);
    }
    assert!(server.path("drop/y.eml").exists());
}

/// A file as a server leaves it that dies after the claim.
fn claim(server: &Server, number: u64, bytes: Vec<u8>) {
    fs::write(server.own_folder().join("claimed").join(format!("7-{number}-{number}.eml.claim")), bytes).unwrap();
}

#[test]
fn reclaim_takes_the_claims_of_a_server_that_is_gone() {
    let dead = Server::with_news();
    dead.run();
    claim(&dead, 1, letter("a", &["news"]).iis());
    claim(&dead, 2, letter("b", &["news"]).iis());
    let heir = Server::new();
    fs::write(
        heir.path("mailmill.toml"),
        format!("server = \"heir\"\n[incoming]\ndrop_folder = \"{}\"\n", dead.drop_folder().display()),
    )
    .unwrap();
    heir.list("news", "announcements", &[]);
    assert_eq!(heir.run().ends(), "0 found: ", "another server's claims are its own");
    let store = dead.path("store");
    let reclaim = ["reclaim", "--server", "mill", "--store", store.to_str().unwrap(), "--json"];
    assert_eq!(heir.only(&reclaim)["taken"], 2);
    assert_eq!(heir.run().ends(), "2 found: 2 delivered");
    let mut titles = heir.titles("news");
    titles.sort();
    assert_eq!(titles, ["a", "b"]);
    assert_eq!(heir.only(&reclaim)["taken"], 0);
    heir.is_sound();
}

#[test]
fn reclaim_takes_everything_when_the_store_is_lost() {
    let dead = Server::with_news();
    dead.run();
    claim(&dead, 1, letter("a", &["news"]).iis());
    fs::remove_dir_all(dead.path("store")).unwrap();
    dead.configure("");
    dead.list("news", "announcements", &[]);
    assert_eq!(dead.run().ends(), "0 found: ", "a new store has a claim folder of its own");
    let labels = names_in(&dead.drop_folder().join(".mailmill"));
    let lost = labels
        .iter()
        .find(|label| !names_in(&dead.drop_folder().join(".mailmill").join(label).join("claimed")).is_empty());
    assert_eq!(dead.only(&["reclaim", "--server", lost.unwrap(), "--store-lost", "--json"])["taken"], 1);
    assert_eq!(dead.run().ends(), "1 found: 1 delivered");
    assert_eq!(dead.titles("news"), ["a"]);
}

#[test]
fn doctor_tries_the_drop_folder_and_leaves_nothing_there() {
    let server = Server::with_news();
    let before = listing(&server.drop_folder());
    let checks = server.objects(&["doctor", "--json"]);
    for check in &checks {
        has_keys(check, &["check", "state", "text"]);
        assert_ne!(check["state"], "bad", "{check}");
    }
    let waiting = listing(&server.drop_folder());
    let new: Vec<_> = waiting.keys().filter(|path| !before.contains_key(*path)).collect();
    assert!(new.iter().all(|path| path.is_dir()), "{new:?}");
    for subject in ["rename", "delete", "file-system", "lease", "room", "file-limit", "store", "clock"] {
        let about = |check: &&serde_json::Value| text(&check["check"]).contains(subject);
        assert!(checks.iter().any(|check| about(&check)), "{subject}: {checks:?}");
    }
    fs::remove_dir_all(server.drop_folder()).unwrap();
    let answer = server.ask(&["doctor", "--json"]).ends(1);
    assert!(answer.objects().iter().any(|check| check["state"] == "bad"));
    server.ask(&["doctor"]).ends(1);
}

#[test]
fn doctor_warns_of_old_files_and_of_silence() {
    let server = Server::with("[incoming]\nalert_silence = \"1h\"\n");
    server.put("old.eml", letter("old", &["news"]));
    let file = fs::File::options().write(true).open(server.drop_folder().join("old.eml")).unwrap();
    file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_hours(24)).unwrap();
    drop(file);
    let warnings: Vec<String> = server
        .objects(&["doctor", "--json"])
        .iter()
        .filter(|check| check["state"] == "warning")
        .map(|check| text(&check["check"]))
        .collect();
    assert!(warnings.iter().any(|check| check == "silence"), "{warnings:?}");
    assert!(warnings.iter().any(|check| check == "waiting"), "{warnings:?}");
}

// status and stop without an owner; watch.rs has them with one

#[test]
fn status_tells_the_queue_and_the_last_batch_where_nobody_runs() {
    let server = Server::with_news();
    let status = server.only(&["status", "--json"]);
    assert_eq!((&status["running"], &status["queue"]), (&json!(false), &json!(0)));
    server.put("x.eml", letter("x", &["news"]));
    let sheet = server.run();
    server.put("y.eml", letter("y", &["news"]));
    let status = server.only(&["status", "--json"]);
    assert_eq!((&status["queue"], &status["last_batch"]), (&json!(1), &sheet.value));
    assert!(status["oldest_s"].is_u64(), "{status}");
    assert!(server.good(&["status"]).text().contains("1 file"));
}

#[test]
fn stop_without_an_owner_has_nothing_to_do() {
    let server = Server::new();
    assert_eq!(server.good(&["stop"]).text(), "");
}

// gen and demo

#[test]
fn gen_makes_the_same_bytes_from_the_same_seed() {
    let server = Server::new();
    let made = |dir: &str, seed: &str, profile: &str| {
        let dir = server.path(dir);
        let words =
            ["gen", dir.to_str().unwrap(), "--messages", "120", "--profile", profile, "--seed", seed, "--lists", "3"];
        server.good(&words);
        files_below(&dir).iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>()
    };
    let small = made("a", "1", "small");
    assert_eq!(small, made("b", "1", "small"));
    assert_ne!(small, made("c", "2", "small"));
    assert_eq!(small.len(), 120);
    let mean = small.iter().map(Vec::len).sum::<usize>() / small.len();
    assert!((3500..5500).contains(&mean), "mean {mean}");
    for (profile, dir) in [("mixed", "m"), ("hostile", "h")] {
        let made_once = made(dir, "5", profile);
        assert_eq!(made_once.len(), 120, "{profile}");
        assert_eq!(made_once, made(&format!("{dir}2"), "5", profile));
    }
    let large = server.path("large");
    server.good(&["gen", large.to_str().unwrap(), "--messages", "2", "--profile", "large"]);
    for path in files_below(&large) {
        assert!((10_000_000..14_000_000).contains(&path.metadata().unwrap().len()), "{path:?}");
    }
    for list in ["list0", "list1", "list2"] {
        server.list(list, "announcements", &[]);
    }
    fs::remove_dir(server.drop_folder()).unwrap();
    fs::rename(server.path("a"), server.drop_folder()).unwrap();
    assert_eq!(server.run().ends(), "120 found: 120 delivered");
}

#[test]
fn hostile_mail_ends_in_a_sheet_that_adds_up() {
    let server = Server::new();
    server.list("list0", "document-library", &["save_original=true"]);
    let dir = server.drop_folder();
    server.good(&["gen", dir.to_str().unwrap(), "--messages", "300", "--profile", "hostile", "--seed", "11"]);
    let given: Vec<Vec<u8>> = files_below(&dir).iter().map(|path| fs::read(path).unwrap()).collect();
    let sheet = server.run();
    assert_eq!(sheet.n("found"), 300);
    server.is_settled();
    let ids = ids_once(&server.items("list0"));
    let kept: BTreeSet<_> = files_below(&dir).iter().map(|path| mail_id(&fs::read(path).unwrap())).collect();
    let lost = given.iter().map(|bytes| mail_id(bytes)).filter(|id| !ids.contains(id) && !kept.contains(id)).count();
    assert_eq!(lost, 0);
}

#[test]
fn demo_tells_the_whole_story() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("demo");
    let mut command = mailmill();
    command.arg("demo").arg(&dir);
    let story = answer(command).ends(0).text();
    for kind in KINDS {
        assert!(story.contains(kind), "{kind}: {story}");
    }
    let mut command = mailmill();
    command.arg("--config").arg(dir.join("mailmill.toml")).args(["verify", "--json"]);
    assert_eq!(answer(command).ends(0).only()["sound"], true);
    let mut command = mailmill();
    command.arg("demo").arg(&dir);
    answer(command).ends(2);
}
