//! Real programs at the other end: swaks, smtp-source, and a Postfix that relays to us by LMTP, by SMTP and by the drop folder.
//! `.ci/setup-mail` installs them where they are missing; a test says so when it cannot run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::*;
use crate::common::*;

fn is_there(program: &str) -> bool {
    let found =
        ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].iter().any(|folder| Path::new(folder).join(program).exists());
    if !found {
        skipped(&format!("{program} is not installed; see .ci/setup-mail"));
    }
    found
}

#[test]
fn swaks_sends_a_mail_that_is_an_item_within_two_seconds() {
    if !is_there("swaks") {
        return;
    }
    let post = Post::new();
    let _serve = post.serve();
    let (address, port) = post.address.split_once(':').unwrap();
    let words = ["--server", address, "--port", port, "--from", "ann@example.org", "--to", "news@localhost"];
    let mut rounds = Vec::new();
    for number in 0..3 {
        let subject = format!("Subject: from swaks {number}");
        let begin = Instant::now();
        system("swaks", &[&words[..], &["--header", &subject, "--silent", "2"]].concat()).unwrap();
        post.has("news", &format!("from swaks {number}"));
        rounds.push(begin.elapsed());
    }
    within_two_seconds(&rounds);
    // A list that is not there is refused, and swaks says so.
    let words = ["--server", address, "--port", port, "--from", "ann@example.org", "--to", "nobody@localhost"];
    let refused = Command::new("swaks").args(words).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stdout).contains("550 5.1.1"));
    assert_eq!(refused.status.code(), Some(24), "swaks: no recipients accepted");
}

#[test]
fn mail_from_many_connections_at_once_arrives_each_once() {
    if !is_there("smtp-source") {
        return;
    }
    let post = Post::new();
    let serve = post.serve();
    let count = 500;
    let words = ["-s", "16", "-l", "2000", "-f", "ann@example.org", "-t", "news@localhost"];
    system("smtp-source", &[&words[..], &["-m", &count.to_string(), &post.address]].concat()).unwrap();
    until("all are there", Duration::from_mins(1), || post.server.items("news").len() == count);
    serve.term();
    assert_eq!(serve.wait(), 0);
    assert_eq!(ids_once(&post.server.items("news")).len(), count);
    post.server.is_settled();
}

/// A Postfix with its own folders, on an address of its own, stopped when the test is over.
struct Postfix {
    // Dropped first: it is stopped by the configuration in the folder.
    _stop: Undo,
    folder: tempfile::TempDir,
    address: String,
}

impl Postfix {
    /// None where there is none, or where we may not start one.
    fn start(settings: &str, master: &str) -> Option<Self> {
        if !is_there("postfix") {
            return None;
        }
        if !is_root() {
            skipped("Postfix wants root");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let below = |name: &str| folder.path().join(name);
        for name in ["etc", "spool", "data"] {
            fs::create_dir(below(name)).unwrap();
        }
        system("chown", &["postfix", below("data").to_str().unwrap()]).unwrap();
        let address = own_address();
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {}\ndata_directory = {}\nmyhostname = front.example\n\
             mydestination =\ninet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmynetworks = 127.0.0.0/8\n\
             relay_domains = lists.example\nmaillog_file = {}\nmaillog_file_prefixes = {}\n\
             alias_maps =\nalias_database =\nsmtp_host_lookup = native\nlmtp_host_lookup = native\n\
             smtpd_relay_restrictions = permit_mynetworks, reject\nnotify_classes =\n\
             default_database_type = texthash\nminimal_backoff_time = 1s\nmaximal_backoff_time = 2s\nqueue_run_delay = 1s\n{settings}\n",
            below("spool").display(),
            below("data").display(),
            below("log").display(),
            folder.path().display(),
        );
        fs::write(below("etc/main.cf"), main).unwrap();
        let known = fs::read_to_string("/usr/share/postfix/master.cf.dist")
            .or_else(|_| fs::read_to_string("/etc/postfix/master.cf"))
            .unwrap();
        let services: String = known
            .lines()
            .filter(|line| !line.starts_with("smtp      inet"))
            .map(|line| without_chroot(line) + "\n")
            .collect();
        fs::write(below("etc/master.cf"), format!("{address} inet n - n - - smtpd\n{services}\n{master}\n")).unwrap();
        let etc = below("etc");
        let etc = etc.to_str().unwrap();
        let stop = Undo::by(&["postfix", "-c", etc, "stop"]);
        if let Err(why) = system("postfix", &["-c", etc, "start"]) {
            skipped(&format!(
                "Postfix does not start here: {why} {}",
                fs::read_to_string(below("log")).unwrap_or_default()
            ));
            return None;
        }
        let postfix = Self { _stop: stop, folder, address };
        until("Postfix listens", SOON, || std::net::TcpStream::connect(&postfix.address).is_ok());
        Some(postfix)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    #[track_caller]
    fn mail(&self, to: &[&str], mail: &[u8]) {
        let reply = Client::new(std::net::TcpStream::connect(&self.address).unwrap()).mail("ann@example.org", to, mail);
        assert!(reply.starts_with("250"), "{reply}");
    }
}

/// A service of master.cf that does not run in a chroot: there is none in a test's folder.
fn without_chroot(line: &str) -> String {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    if line.starts_with(['#', ' ', '\t']) || words.len() < 8 {
        return line.to_owned();
    }
    words[4] = "n";
    words.join(" ")
}

#[test]
fn postfix_in_front_delivers_by_lmtp() {
    let post = Post::new();
    let port = own_address();
    post.server.configure(&format!(
        "[incoming]\naccepted_domains = [\"lists.example\"]\n[smtp]\nlisten = []\nlmtp = [\"{port}\"]\n"
    ));
    post.server.list("docs", "document-library", &[]);
    let (host, number) = port.split_once(':').unwrap();
    let Some(postfix) = Postfix::start(&format!("relay_transport = lmtp:inet:{host}:{number}"), "") else { return };
    let _serve = post.server.start(&["serve", "--every", "1h"]);
    let file = noise(5, 100_000);
    let mail = letter("through postfix", &[]).attach("a.bin", &file).mail();
    postfix.mail(&["news@lists.example", "docs@lists.example", "nobody@lists.example"], &mail);
    until("it is there", Duration::from_secs(30), || post.server.titles("news") == ["through postfix"]);
    until("and there", SOON, || post.server.titles("docs") == ["through postfix"]);
    assert_eq!(post.server.cat("docs", 1, "a.bin"), file);
    // The recipient that nobody has was refused to Postfix, who tells the sender.
    until("Postfix knows", SOON, || postfix.log().contains("550 5.1.1"));
}

#[test]
fn postfix_in_front_delivers_by_smtp_and_tries_again_after_a_pause() {
    let post = Post::new();
    post.server.configure(&format!(
        "[incoming]\naccepted_domains = [\"lists.example\"]\n[smtp]\nlisten = [\"{}\"]\n",
        post.address
    ));
    let Some(postfix) = Postfix::start(&format!("relay_transport = smtp:{}", bracketed(&post.address)), "") else {
        return;
    };
    // Nobody listens yet: Postfix keeps it, and nothing is lost.
    postfix.mail(&["news@lists.example"], &letter("patient", &[]).mail());
    until("Postfix has tried", Duration::from_secs(30), || postfix.log().contains("status=deferred"));
    let _serve = post.serve();
    let etc = postfix.folder.path().join("etc");
    system("postfix", &["-c", etc.to_str().unwrap(), "flush"]).unwrap();
    let begin = Instant::now();
    while post.server.titles("news") != ["patient"] {
        assert!(begin.elapsed() < Duration::from_mins(1), "{}", postfix.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn bracketed(address: &str) -> String {
    let (host, port) = address.split_once(':').unwrap();
    format!("[{host}]:{port}")
}

/// deploy/postfix-drop: the pipe that writes into the drop folder.
#[test]
fn postfix_in_front_writes_into_the_drop_folder() {
    let post = Post::new();
    post.server.configure("[incoming]\naccepted_domains = [\"lists.example\"]\n");
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy/mailmill-drop");
    let drop = post.server.drop_folder();
    // The pipe runs as somebody who may write there.
    for folder in [post.server.root.path(), &drop] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let copy = post.server.path("mailmill-drop");
    fs::copy(&script, &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    let pipe = format!(
        "mailmill unix - n n - 4 pipe\n  flags=F user=nobody argv={} {} ${{sender}} -- ${{recipient}}",
        copy.display(),
        drop.display()
    );
    let settings = "relay_transport = mailmill\nmailmill_destination_recipient_limit = 100";
    let Some(postfix) = Postfix::start(settings, &pipe) else { return };
    postfix.mail(&["news@lists.example", "nobody@lists.example"], &letter("by the drop folder", &[]).mail());
    until("it lies there", Duration::from_secs(30), || post.server.waiting().len() == 1);
    let sheet = post.server.run();
    assert_eq!(post.server.titles("news"), ["by the drop folder"], "{}", postfix.log());
    assert_eq!(sheet.reasons(), ["unknown-address"]);
    let sender = &post.server.items("news")[0]["sender"];
    assert_eq!(text(sender), "ann@example.org");
}

/// A program that stands for one that cannot be started here leaves a word, so that nobody takes silence for success.
#[test]
fn the_recipes_are_what_the_tests_use() {
    let deploy = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let recipe = fs::read_to_string(deploy.join("postfix.md")).unwrap();
    for part in ["relay_transport = lmtp:", "mailmill-drop", "flags=F"] {
        assert!(recipe.contains(part), "{part}");
    }
    let checked =
        Command::new("sh").arg("-n").arg(deploy.join("mailmill-drop")).stderr(Stdio::null()).status().unwrap();
    assert!(checked.success());
}
