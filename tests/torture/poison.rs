//! A mail that kills the process: it wants more memory than the process may have, and an allocation that fails is the end.
//! The small ones in flight beside it are delivered, and it is set aside.

use std::fs;
use std::process::Command;

use crate::mill::{Answer, Dice, Post, Server};
use crate::{Extent, Told};

/// Enough for the store, the threads and small mail, not for the large one.
const ROOM_KIB: u32 = 900 << 10;
const LARGE: usize = 700 << 20;

fn in_little_room(server: &Server, words: &[&str]) -> Answer {
    let command = server.command(words);
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("ulimit -v {ROOM_KIB}; exec \"$0\" \"$@\""))
        .arg(command.get_program())
        .args(command.get_args());
    // Each thread's heap would take 64 MiB of the room, needed or not.
    shell.env("MALLOC_ARENA_MAX", "1");
    let output = shell.output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Answer { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

pub fn poison_mail(extent: Extent) -> Told {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(folder.path(), "a");
    // Read into memory, not mapped: a mapping that fails is no death.
    server.configure("[limits]\nmap_from = \"4GiB\"\nmail_bytes = \"2GiB\"\nworkers = 2");
    server.lists();
    let (mut dice, mut post) = (Dice::new(13), Post::default());
    let mut deaths = 0;
    for round in 0..if extent.short { 1 } else { 5 } {
        for _ in 0..40 {
            post.drop_letter(&mut dice, &server.drop, &["news", "docs"], 2000);
        }
        // An attachment of zeros, and a hole: it needs no room on the disk, but decoded it does in memory.
        let large = server.drop.join(format!("large-{round}.eml"));
        let letter = crate::mill::letter(&format!("large-{round}"), &["news"], "");
        fs::write(&large, letter.strip_suffix(b"\r\n--b--\r\n").unwrap()).unwrap();
        fs::File::options().write(true).open(&large).unwrap().set_len(LARGE as u64).unwrap();
        post.dropped += 1;
        let start = deaths;
        let sheet = loop {
            let answer = in_little_room(&server, &["run", "--json"]);
            if matches!(answer.code, Some(0 | 3)) {
                break crate::mill::sheet(&answer.out);
            }
            deaths += 1;
            // A first death finds it among others; then each is alone, in a child or not.
            assert!(deaths - start <= 5, "{answer:?}");
        };
        assert!(deaths > start, "it killed nothing: {sheet:?}");
        assert!(sheet.balanced && sheet.damaged == 1, "{sheet:?}");
        let failed = server.good(&["failed", "ls", "--json"]).rows();
        assert_eq!(failed.len(), round + 1, "{failed:?}");
        assert_eq!(failed[round]["reason"], "crashed-before");
        assert_eq!(failed[round]["file"], format!("large-{round}.eml"));
        assert!(failed[round]["mail_id"].is_string());
        server.is_sound();
    }
    // Tried again by a person where there is room, it is a mail like any other.
    let id = server.good(&["failed", "ls", "--json"]).rows().remove(0)["id"].as_str().unwrap().to_owned();
    assert_eq!(in_little_room(&server, &["failed", "retry", &id, "--json"]).ends(3).rows()[0]["damaged"], 1);
    Ok(post.account(&[&server], deaths))
}
