//! The acceptance probes of the specification, section 11, that are about delivery.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::mill::{Dice, Post, Running, Server, end, kill};
use crate::{Cannot, Extent, Tally, Told};

/// Two nodes, one share, 1,000 files: 1,000 items, no duplicates; one node is killed at random points, 20 times.
pub fn probe_1_two_nodes_one_share_killed_20_times(extent: Extent) -> Told {
    let mut sum = Tally::default();
    for round in 0..if extent.short { 1 } else { 5 } {
        let folder = tempfile::tempdir().unwrap();
        let drop = folder.path().join("drop");
        let node = |name: &str| {
            let own = folder.path().join(name);
            let server = Server::on(&own, name, &drop, &own.join("store"), "");
            server.lists();
            server
        };
        let (steady, killed) = (node("steady"), node("killed"));
        let (mut dice, mut post) = (Dice::new(1 + round), Post::default());
        let mut kills = 0;
        for _ in 0..20 {
            for _ in 0..50 {
                post.drop_letter(&mut dice, &drop, &["news"], 3000);
            }
            let victim = killed.start(&["run"]);
            let other = steady.start(&["run", "--json"]);
            std::thread::sleep(Duration::from_millis(dice.below(150)));
            kill(victim);
            kills += 1;
            end(other).ends(0);
        }
        killed.drain();
        steady.drain();
        assert_eq!(post.dropped, 1000);
        for server in [&steady, &killed] {
            server.is_sound();
        }
        let items: u64 = [&steady, &killed].iter().flat_map(|server| server.items().into_values()).sum();
        assert_eq!(items, 1000);
        let one = post.account(&[&steady, &killed], kills);
        sum = Tally {
            runs: sum.runs + kills,
            mails: sum.mails + one.mails,
            lost: sum.lost + one.lost,
            doubled: sum.doubled + one.doubled,
        };
    }
    Ok(sum)
}

/// The right to delete is taken away: no duplicates, one alarm.
pub fn probe_2_delete_right_removed(_: Extent) -> Told {
    if !crate::mount::is_root() {
        return Err(Cannot("not root".to_owned()));
    }
    let folder = tempfile::tempdir().unwrap();
    let rights = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    rights(folder.path(), 0o777);
    let server = Server::new(folder.path(), "a");
    for path in [&server.folder, &server.drop, &server.store] {
        rights(path, 0o777);
    }
    let nobody = |words: &[&str]| {
        let command = server.command(words);
        let mut other = Command::new("setpriv");
        other.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]);
        other.arg(command.get_program()).args(command.get_args());
        other.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        end(Running::start(other).unwrap())
    };
    nobody(&["list", "create", "news", "--kind", "announcements", "--address", "news", "senders=any"]).ends(0);
    let (mut dice, mut post) = (Dice::new(2), Post::default());
    let put = |post: &mut Post, dice: &mut Dice| {
        for _ in 0..50 {
            let name = post.drop_letter(dice, &server.drop, &["news"], 500);
            let long_ago = std::time::SystemTime::now() - Duration::from_mins(1);
            let file = fs::File::options().write(true).open(server.drop.join(&name)).unwrap();
            file.set_permissions(fs::Permissions::from_mode(0o644)).unwrap();
            file.set_modified(long_ago).unwrap();
        }
    };
    put(&mut post, &mut dice);
    nobody(&["run"]).ends(0);
    put(&mut post, &mut dice);
    // Everybody may read there, nobody may delete: three batches say so, each once, and deliver nothing.
    rights(&server.drop, 0o555);
    for _ in 0..3 {
        let answer = nobody(&["run"]).ends(1);
        let alarms: Vec<_> = answer.err.lines().collect();
        assert_eq!(alarms.len(), 1, "{alarms:?}");
        assert!(alarms[0].contains("must be able to list, create, rename and delete"), "{alarms:?}");
    }
    assert_eq!(server.waiting().len(), 50);
    rights(&server.drop, 0o777);
    nobody(&["run"]).ends(0);
    assert!(server.waiting().is_empty());
    server.is_sound();
    Ok(post.account(&[&server], 5))
}

/// 400 files for unknown addresses and one good one: the good one is delivered in the same run.
pub fn probe_3_400_unknown_and_one_good(_: Extent) -> Told {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(folder.path(), "a");
    server.lists();
    let (mut dice, mut post) = (Dice::new(3), Post::default());
    for number in 0..400 {
        post.drop_letter(&mut dice, &server.drop, &[&format!("nobody-{number}")], 300);
        if number == 200 {
            post.drop_letter(&mut dice, &server.drop, &["news"], 300);
        }
    }
    let sheet = server.run();
    assert_eq!((sheet.found, sheet.delivered, sheet.refused), (401, 1, 400), "{sheet:?}");
    assert_eq!(server.names_in("refused").len(), 800);
    server.is_sound();
    Ok(post.account(&[&server], 1))
}

/// A file of the Exchange form, with a folded X-Receiver and X-ExtendedProps, gives the item that the IIS form of it gives.
pub fn probe_5_exchange_form_equals_iis_form(_: Extent) -> Told {
    let folder = tempfile::tempdir().unwrap();
    let mail = "Received: from mail.example (10.0.0.1) by mx.example; Mon, 4 Jan 2016 08:00:00 +0000\r\n\
        From: \"Bob\" <bob@x.example>\r\nTo: news@lists.example\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\
        Date: Mon, 4 Jan 2016 08:00:00 +0000\r\nMessage-ID: <probe-5@x.example>\r\nX-Sender: not-the-envelope@z.example\r\n\
        MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nHello\r\n\
        --b\r\nContent-Type: application/pdf; name=\"a.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERi0=\r\n--b--\r\n";
    let iis = format!("x-sender: bob@x.example\r\nx-receiver: news@lists.example\r\n{mail}");
    let exchange = format!(
        "X-Receiver: <news@lists.example> NOTIFY=NEVER\r\n ORcpt=rfc822;news@lists.example\r\n\
         X-Sender: <bob@x.example> BODY=7bit RET=HDRS ENVID=12345ABCD;auth=<someAuth>\r\nX-CreatedBy: MSExchange15\r\n\
         X-HeloDomain: mail.x.example\r\nX-ExtendedProps: DwBPAHIAZwBhAG4AaQB6AGEAdABpAG8AbgBTAGMAbwBwAGUA\r\n\tQwBBAEEA\r\n\
         X-Source: FC\r\nX-EndOfInjectedXHeaders: 1412\r\n{mail}"
    );
    let mut items = Vec::new();
    for (name, file) in [("iis", iis), ("exchange", exchange)] {
        let server = Server::new(folder.path(), name);
        server.good(&[
            "list",
            "create",
            "news",
            "--kind",
            "announcements",
            "--address",
            "news",
            "senders=any",
            "save_original=true",
        ]);
        fs::write(server.drop.join("mail.eml"), file).unwrap();
        assert_eq!(server.run().delivered, 1);
        server.is_sound();
        let mut item = server.good(&["export", "news"]).rows().remove(0);
        // The identity of a mail is that of the whole file, and the clock goes on.
        for key in ["mail_id", "received"] {
            item.as_object_mut().unwrap().remove(key).unwrap();
        }
        let original = server.good(&["cat", "news", "1", "original"]).out;
        assert_eq!(original, mail, "the envelope is no part of the mail");
        items.push(item);
    }
    assert_eq!(items[0], items[1]);
    assert_eq!(items[0]["sender"], "bob@x.example");
    assert_eq!(items[0]["title"], "Grüße");
    assert_eq!(items[0]["attachments"][0]["name"], "a.pdf");
    Ok(Tally { runs: 2, mails: 2, lost: 0, doubled: 0 })
}
