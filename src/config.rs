//! What an administrator decides for one server: `mailmill.toml` and `MAILMILL_*` variables, checked before anything is opened.
//! Reads one file and the environment, never a list: lists live in the store.

mod smtp;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::model::settings::nearest;
use crate::model::units;

pub use smtp::{Machines, Relay, Smtp};

/// Where the configuration is looked for when nobody says: the working folder, then the system.
const PLACES: [&str; 2] = ["mailmill.toml", "/etc/mailmill/mailmill.toml"];

/// The default of `incoming.drop_folder`, and the only one that automatic mode knows.
const DROP_FOLDER: &str = "drop";

/// A configuration that cannot be used, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "no configuration: looked for ./mailmill.toml and /etc/mailmill/mailmill.toml; make one with `mailmill init`, or name one with --config"
    )]
    NotFound,
    #[error("{path}: {cause}")]
    Unreadable { path: PathBuf, cause: std::io::Error },
    #[error("{path}:{line}: {cause}")]
    Wrong { path: PathBuf, line: usize, cause: String },
    #[error("environment variable {name}: {cause}")]
    Variable { name: String, cause: String },
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// A label for people.
    pub server: String,
    pub store: PathBuf,
    pub incoming: Incoming,
    pub limits: Limits,
    pub smtp: Smtp,
    /// Named groups of senders, for `members` of lists.
    pub groups: BTreeMap<String, Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Incoming {
    pub enabled: bool,
    pub mode: Mode,
    pub drop_folder: PathBuf,
    pub writers: Writers,
    #[serde(deserialize_with = "duration")]
    pub settle_time: Duration,
    pub display_address: String,
    pub accepted_domains: Vec<String>,
    pub address_prefix: String,
    pub no_envelope: NoEnvelope,
    /// Servers whose Authentication-Results (RFC 8601) are believed.
    pub trusted_authserv: Vec<String>,
    /// Signatures (RFC 6376) of mail that no trusted server speaks of are checked here.
    pub check_dkim: bool,
    /// Whom to ask for names and keys. Empty: those of the system.
    #[serde(deserialize_with = "name_servers")]
    pub name_servers: Vec<SocketAddr>,
    pub keep: Keep,
    #[serde(deserialize_with = "duration")]
    pub keep_for: Duration,
    /// Zero: never warn.
    #[serde(deserialize_with = "duration")]
    pub alert_silence: Duration,
}

/// Who fills the drop folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Somebody else.
    #[default]
    Advanced,
    /// Our own SMTP service.
    Automatic,
}

/// Where the writers of the drop folder run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Writers {
    #[default]
    Local,
    /// On other machines: leases see nothing of them.
    Remote,
}

/// What becomes of a file without envelope lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NoEnvelope {
    #[default]
    Refuse,
    /// To, Cc and From stand in for the envelope.
    Headers,
}

/// What becomes of a settled file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    #[default]
    Remove,
    Done,
}

/// Bounds on what one mail may be and on what is in flight. README has the table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of mail in flight, decoded copies included.
    #[serde(deserialize_with = "size")]
    pub memory: u64,
    /// Claims open at a time (measured, 30,000 small mails on 2 cores: 13.0 k mails/s with 512, 14.5 k with 1024, 15.8 k with 2048).
    pub claims: usize,
    /// Parsing threads; 0: one for each core.
    pub workers: usize,
    /// Threads that remove settled files (measured: 10 k unlinks/s from one thread, 25 k from 8, 32 k from 16).
    pub settle_threads: usize,
    /// A group is committed when it has so many mails,
    pub group_mails: usize,
    /// or so many bytes,
    #[serde(deserialize_with = "size")]
    pub group_bytes: u64,
    /// or when its first mail has waited so long.
    #[serde(deserialize_with = "duration")]
    pub group_age: Duration,
    /// New attachments of a group are written ahead of it, past the log, from so many bytes on.
    #[serde(deserialize_with = "size")]
    pub bulk_from: u64,
    /// Files from this size on are mapped (measured: equal near 512 KiB, 1.7 times faster at 2 MiB).
    #[serde(deserialize_with = "size")]
    pub map_from: u64,
    /// The largest mail that is taken at all.
    #[serde(deserialize_with = "size")]
    pub mail_bytes: u64,
    /// Multiparts within multiparts.
    pub depth: usize,
    /// Parts of one mail.
    pub parts: usize,
    /// Bytes of the header of one mail that are read and kept.
    #[serde(deserialize_with = "size")]
    pub header_bytes: u64,
    /// Header fields of one mail that are read.
    pub header_fields: usize,
    /// Addresses of To and Cc.
    pub addresses: usize,
    /// Envelope recipients of one file.
    pub recipients: usize,
    /// Attachments of one mail.
    pub attachments: usize,
    /// Bytes of the attachments of one mail, as decoded.
    #[serde(deserialize_with = "size")]
    pub decoded_bytes: u64,
    /// Bytes of a file name as it was sent.
    pub name_bytes: usize,
    /// Containers within containers that are unpacked: TNEF, nested messages, signed parts.
    pub unpack_depth: usize,
    /// Files that are unpacked of one mail.
    pub unpack_files: usize,
    /// Bytes that the containers of one mail unpack to.
    #[serde(deserialize_with = "size")]
    pub unpack_bytes: u64,
    /// And never more than so many times the size of the mail, where that is more than 16 MiB.
    pub unpack_ratio: u64,
    /// Time of a processor that one mail may take; looked at between its attachments and containers.
    #[serde(deserialize_with = "duration")]
    pub mail_time: Duration,
    /// A command hook may take so long.
    #[serde(deserialize_with = "duration")]
    pub hook_time: Duration,
    /// Mail is deferred while the store's disk has less room than this.
    #[serde(deserialize_with = "size")]
    pub store_reserve: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: host_name(),
            store: PathBuf::from("store"),
            incoming: Incoming::default(),
            limits: Limits::default(),
            smtp: Smtp::default(),
            groups: BTreeMap::new(),
        }
    }
}

impl Default for Incoming {
    fn default() -> Self {
        Self {
            enabled: true,
            mode: Mode::default(),
            drop_folder: PathBuf::from(DROP_FOLDER),
            writers: Writers::default(),
            settle_time: Duration::from_secs(2),
            display_address: "localhost".to_owned(),
            accepted_domains: Vec::new(),
            address_prefix: String::new(),
            no_envelope: NoEnvelope::default(),
            trusted_authserv: Vec::new(),
            check_dkim: false,
            name_servers: Vec::new(),
            keep: Keep::default(),
            keep_for: Duration::from_hours(720),
            alert_silence: Duration::ZERO,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 256 << 20,
            claims: 2048,
            workers: 0,
            settle_threads: 16,
            group_mails: 1000,
            group_bytes: 16 << 20,
            group_age: Duration::from_millis(50),
            bulk_from: 4 << 20,
            map_from: 512 << 10,
            mail_bytes: 256 << 20,
            depth: 64,
            parts: 1000,
            header_bytes: 1 << 20,
            header_fields: 10_000,
            addresses: 10_000,
            recipients: 100_000,
            attachments: 1000,
            decoded_bytes: 256 << 20,
            name_bytes: 1024,
            unpack_depth: 16,
            unpack_files: 1000,
            unpack_bytes: 256 << 20,
            unpack_ratio: 10,
            mail_time: Duration::from_secs(30),
            hook_time: Duration::from_secs(10),
            store_reserve: 64 << 20,
        }
    }
}

impl Limits {
    /// What decides about one mail, as TOML: a process that judges one alone goes by the same limits.
    pub fn of_one_mail(&self) -> String {
        let numbers = [
            ("map_from", self.map_from),
            ("mail_bytes", self.mail_bytes),
            ("depth", self.depth as u64),
            ("parts", self.parts as u64),
            ("header_bytes", self.header_bytes),
            ("header_fields", self.header_fields as u64),
            ("addresses", self.addresses as u64),
            ("recipients", self.recipients as u64),
            ("attachments", self.attachments as u64),
            ("decoded_bytes", self.decoded_bytes),
            ("name_bytes", self.name_bytes as u64),
            ("unpack_depth", self.unpack_depth as u64),
            ("unpack_files", self.unpack_files as u64),
            ("unpack_bytes", self.unpack_bytes),
            ("unpack_ratio", self.unpack_ratio),
        ];
        let time = format!("mail_time = \"{}ms\"\n", self.mail_time.as_millis());
        numbers.into_iter().map(|(key, value)| format!("{key} = {value}\n")).chain([time]).collect::<Vec<_>>().concat()
    }

    /// Reads that; keys that are missing have their defaults.
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| explain(error.message()))
    }
}

fn size<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    written(deserializer, units::parse_size)
}

fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    written(deserializer, units::parse_duration)
}

fn name_servers<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error> {
    const DNS: u16 = 53;
    let written = Vec::<String>::deserialize(deserializer)?;
    let read = |text: String| {
        let alone = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS));
        alone.or_else(|_| text.parse()).map_err(|_| {
            serde::de::Error::custom(format!(
                "name server `{text}` must be an IP address, or one with a port: \"192.0.2.1\", \"192.0.2.1:53\", \"[2001:db8::1]:53\""
            ))
        })
    };
    written.into_iter().map(read).collect()
}

/// A value written as a number or as text with a unit.
fn written<'de, D: serde::Deserializer<'de>, T>(
    deserializer: D,
    parse: fn(&str) -> Result<T, units::UnitError>,
) -> Result<T, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a number, or text with a unit")]
    enum Written {
        Number(u64),
        Text(String),
    }
    let text = match Written::deserialize(deserializer)? {
        Written::Number(number) => number.to_string(),
        Written::Text(text) => text,
    };
    parse(&text).map_err(serde::de::Error::custom)
}

/// A readable label for this machine.
pub fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let clean: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '.') { c } else { '-' }).collect();
    if clean.is_empty() { "server".to_owned() } else { clean }
}

impl Config {
    /// Finds the file and reads it; `named` is what `--config` or `$MAILMILL_CONFIG` says.
    pub fn find(named: Option<&Path>) -> Result<Self, ConfigError> {
        let path = match named {
            Some(path) => path.to_owned(),
            None => PLACES.iter().map(PathBuf::from).find(|path| path.is_file()).ok_or(ConfigError::NotFound)?,
        };
        let cause = |cause| ConfigError::Unreadable { path: path.clone(), cause };
        let text = std::fs::read_to_string(&path).map_err(cause)?;
        let absolute = std::path::absolute(&path).map_err(cause)?;
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::parse(&absolute, &text, variables)
    }

    /// Relative paths are relative to the folder of `path`.
    pub fn parse(
        path: &Path,
        text: &str,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text).map_err(|error| wrong(path, text, &error))?;
        let mut table: toml::Table = toml::from_str(text).map_err(|error| wrong(path, text, &error))?;
        let mut set = Vec::new();
        for (name, value) in variables {
            let Some(keys) = name.strip_prefix("MAILMILL_") else { continue };
            if FOREIGN.contains(&keys) {
                continue;
            }
            put(&mut table, &keys.to_ascii_lowercase(), &value);
            config = table.clone().try_into().map_err(|error: toml::de::Error| ConfigError::Variable {
                name: name.clone(),
                cause: explain(error.message()),
            })?;
            set.push(name);
        }
        config.check().map_err(|(key, cause)| {
            match set.iter().find(|name: &&String| name.to_ascii_lowercase().ends_with(key)) {
                Some(name) => ConfigError::Variable { name: name.clone(), cause },
                None => ConfigError::Wrong { path: path.to_owned(), line: line_of_key(text, key), cause },
            }
        })?;
        let folder = path.parent().unwrap_or(Path::new("."));
        config.store = folder.join(&config.store);
        config.incoming.drop_folder = folder.join(&config.incoming.drop_folder);
        for path in [&mut config.smtp.certificate, &mut config.smtp.key] {
            if !path.as_os_str().is_empty() {
                *path = folder.join(&*path);
            }
        }
        Ok(config)
    }

    /// What must hold between settings: the key at fault and why.
    fn check(&self) -> Result<(), (&'static str, String)> {
        let incoming = &self.incoming;
        let label = !self.server.is_empty() && self.server.len() <= 64;
        if !label || self.server.starts_with('.') || self.server.contains(['/', '\0', ' ']) {
            return Err((
                "server",
                "server must be 1 to 64 characters without `/` and spaces, not starting with a dot".to_owned(),
            ));
        }
        if incoming.mode == Mode::Automatic && incoming.drop_folder != Path::new(DROP_FOLDER) {
            let text =
                "drop_folder belongs to mode = \"advanced\"; in automatic mode the drop folder is mailmill's own";
            return Err(("drop_folder", text.to_owned()));
        }
        if incoming.mode == Mode::Advanced && !self.smtp.safe_servers.is_empty() {
            return Err(("safe_servers", "safe_servers belongs to mode = \"automatic\"".to_owned()));
        }
        self.smtp.check()?;
        let limits = &self.limits;
        let positive = [
            ("memory", limits.memory),
            ("claims", limits.claims as u64),
            ("settle_threads", limits.settle_threads as u64),
            ("group_mails", limits.group_mails as u64),
            ("group_bytes", limits.group_bytes),
            ("mail_bytes", limits.mail_bytes),
            ("parts", limits.parts as u64),
            ("header_bytes", limits.header_bytes),
            ("header_fields", limits.header_fields as u64),
            ("recipients", limits.recipients as u64),
            ("name_bytes", limits.name_bytes as u64),
            ("mail_time", u64::from(!limits.mail_time.is_zero())),
        ];
        match positive.iter().find(|(_, value)| *value == 0) {
            Some((key, _)) => Err((key, format!("limits.{key} must be more than 0"))),
            None if limits.mail_bytes > u64::from(u32::MAX) => {
                Err(("mail_bytes", "limits.mail_bytes may be 4 GiB at most".to_owned()))
            }
            None => Ok(()),
        }
    }
}

/// Variables of the program that are no settings.
const FOREIGN: [&str; 2] = ["CONFIG", "LOG"];

/// Puts a value under `incoming__drop_folder`. What is not TOML is a bare string.
fn put(table: &mut toml::Table, keys: &str, value: &str) {
    let parsed = format!("value = {value}").parse::<toml::Table>().ok().filter(|table| table.len() == 1);
    let value =
        parsed.and_then(|mut table| table.remove("value")).unwrap_or_else(|| toml::Value::String(value.to_owned()));
    match keys.split_once("__") {
        Some((section, key)) => {
            let section = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            if let toml::Value::Table(section) = section {
                section.insert(key.to_owned(), value);
            }
        }
        None => drop(table.insert(keys.to_owned(), value)),
    }
}

fn wrong(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let at = error.span().map_or(0, |span| span.start);
    let line = text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
    ConfigError::Wrong { path: path.to_owned(), line, cause: explain(error.message()) }
}

/// "unknown field `a`, expected one of `b`, `c`" with the nearest of the expected words.
fn explain(message: &str) -> String {
    let words: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match words.split_first() {
        Some((unknown, known)) if message.starts_with("unknown field") => {
            let near = nearest(unknown, known.iter().copied());
            format!("unknown key `{unknown}`; did you mean `{near}`?")
        }
        _ => message.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

fn line_of_key(text: &str, key: &str) -> usize {
    text.lines().position(|line| line.trim_start().starts_with(key)).map_or(1, |at| at + 1)
}

/// The file that `mailmill init` writes: every setting with its default.
pub fn template(server: &str) -> String {
    TEMPLATE.replacen("host-name", server, 1)
}

const TEMPLATE: &str = r#"# mailmill: every setting with its default. Relative paths are relative to this file.
# Any key can also be given as an environment variable: MAILMILL_INCOMING__DROP_FOLDER=/srv/drop

server = "host-name"             # a label for people
# store = "store"                # the folder of the list store

[incoming]
# enabled = true                 # false: run and watch do nothing and say so; SMTP answers 421
# mode = "advanced"              # advanced: somebody else fills the drop folder; automatic: our own SMTP service does
drop_folder = "drop"
# writers = "local"              # local | remote (NFS, SMB: files must have been still for settle_time, and are copied)
# settle_time = "2s"             # how long a file must be still where leases cannot tell that its writer has finished
# display_address = "localhost"  # the domain shown to people
# accepted_domains = []          # empty: any domain for files in the drop folder; by SMTP localhost, this machine and the display address
# address_prefix = ""            # put before every new list address
# no_envelope = "refuse"         # a file without x-receiver lines: refuse | headers (use To, Cc and From)
# trusted_authserv = []          # servers in front of this one whose Authentication-Results are believed, the topmost field only
# check_dkim = false             # check DKIM signatures of mail that no trusted server speaks of
# name_servers = []              # whom to ask for names and keys, as "IP" or "IP:PORT"; empty: those of /etc/resolv.conf
# keep = "remove"                # what becomes of a settled file: remove | done (kept under done/DATE/ for keep_for)
# keep_for = "30d"
# alert_silence = "0"            # doctor warns when no mail came for so long; 0: never

[limits]
# memory = "256MiB"              # mail in flight, decoded copies included
# claims = 2048                  # files claimed and not yet settled
# workers = 0                    # parsing threads; 0: one for each core
# settle_threads = 16            # threads that remove settled files
# group_mails = 1000             # a group is committed at so many mails,
# group_bytes = "16MiB"          # or so many bytes,
# group_age = "50ms"             # or when its first mail has waited so long
# bulk_from = "4MiB"             # new attachments of a group go past the log from so many bytes on
# map_from = "512KiB"            # files from this size on are mapped instead of copied
# mail_bytes = "256MiB"          # a larger mail is refused as too-large
# depth = 64                     # multiparts within multiparts; deeper ones are kept whole, with a defect
# parts = 1000                   # parts of one mail; the rest stays in the last part, with a defect
# header_bytes = "1MiB"          # the header of a mail; the rest of it is neither read nor kept, with a defect
# header_fields = 10000          # header fields of a mail; the rest is not read, with a defect
# addresses = 10000              # addresses of To and Cc; the rest is not read, with a defect
# recipients = 100000            # envelope recipients of a file; more of them: damaged, `limit`
# attachments = 1000             # attachments of a mail; more of them: damaged, `limit`
# decoded_bytes = "256MiB"       # attachments of a mail, decoded; more: damaged, `limit`
# name_bytes = 1024              # a file name as it was sent; cut, with a defect
# unpack_depth = 16              # containers within containers that are unpacked (TNEF, nested messages, signed parts)
# unpack_files = 1000            # files that are unpacked of one mail; the rest stays in its container, with a defect
# unpack_bytes = "256MiB"        # bytes that the containers of one mail unpack to; the rest stays in them, with a defect
# unpack_ratio = 10              # and never more than so many times the mail itself (16 MiB are always allowed)
# mail_time = "30s"              # processor time that one mail may take; longer: damaged, `limit`
# hook_time = "10s"              # a list's command hook may take so long
# store_reserve = "64MiB"        # mail is deferred (store-full) while the store's disk has less room

[smtp]
listen = ["127.0.0.1:2525"]
# listen_tls = []                # the same with TLS from the first byte, for example ["0.0.0.0:465"]
# lmtp = []                      # LMTP: addresses with ports, or paths of unix sockets
# host_name = ""                 # our name in greetings; empty: the machine's
# certificate = ""               # PEM file with the chain; with it and key STARTTLS and AUTH are offered; read anew when it changes
# key = ""                       # PEM file with the private key
# require_tls = false            # no mail without TLS
# users = {}                     # name = "hash" as `mailmill password` prints it, for AUTH
# authenticated_only = false     # no mail without AUTH
# safe_servers = []              # automatic mode: the only machines that may send (addresses, subnets, domains)
# relay = "all-except"           # all-except | only: which machines relay_list shuts out or lets in
# relay_list = []                # addresses, subnets (192.0.2.0/24, 2001:db8::/32), domains (by confirmed reverse name)
# queue_domains = []             # domains that are not ours yet: their mail waits in queue/ until they are
# postmaster = ""                # the list address that gets mail to postmaster
# max_size = "50MiB"             # a larger mail is refused
# received = true                # put our Received field on top of mail that comes by SMTP (never by LMTP)
# connections = 1000             # at a time
# connections_per_address = 50   # from one address; this machine's own are not counted
# rate_per_address = 600         # mails a minute from one address; 0: any number; this machine's own are not counted
# recipients = 1000              # of one mail
# commands = 2000                # between two mails of a connection
# errors = 20                    # of a connection
# line_length = 4096             # bytes of a command
# idle_time = "5m"               # the longest silence of a client
# mail_time = "30m"              # the longest that one mail may take
# stop_time = "10s"              # how long a stop waits for mail that is under way
# metrics = ""                   # Prometheus text, on a loopback address: "127.0.0.1:9125"
# bounces = false                # tell senders of mail that was refused after it was accepted (RFC 3464)
# smart_host = ""                # the mail server that takes bounces: "mail.example.org:25"
# bounce_rate = 10               # bounces a minute

# [groups]                       # named groups of senders, for `members` of lists
# staff = ["@example.org", "ann@example.com"]
"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let variables = variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        Config::parse(Path::new("/etc/mm/mailmill.toml"), text, variables)
    }

    #[test]
    fn the_template_shows_the_defaults_and_all_of_them() {
        let uncommented: String = template("a")
            .lines()
            .map(|line| {
                line.strip_prefix("# ").filter(|rest| rest.contains(" = ") || rest.starts_with('[')).unwrap_or(line)
            })
            .collect::<Vec<_>>()
            .join("\n");
        let mut all = parse(&uncommented, &[]).unwrap();
        assert_eq!(all.groups.len(), 1);
        all.groups.clear();
        let bare = parse("server = 'a'", &[]).unwrap();
        assert_eq!(all, bare);
        assert_eq!(parse(&template("a"), &[]).unwrap(), bare);
        for key in uncommented.lines().filter_map(|line| line.split_once(" = ")).map(|(key, _)| key) {
            assert!(template("a").contains(key));
        }
    }

    #[test]
    fn the_limits_of_one_mail_read_back_and_none_is_forgotten() {
        let text = Limits::default().of_one_mail();
        assert_eq!(Limits::parse(&text).unwrap(), Limits::default());
        // Each line counts: one more and the limits are others.
        for line in text.lines().filter(|line| !line.starts_with("mail_time")) {
            let changed = Limits::parse(&text.replace(line, &format!("{line}0"))).unwrap();
            assert_ne!(changed, Limits::default(), "{line}");
            assert_eq!(Limits::parse(&changed.of_one_mail()).unwrap(), changed);
        }
        // Whatever the template has between `map_from` and `hook_time` is of one mail.
        let template = template("a");
        let section = template.split("# map_from").nth(1).and_then(|rest| rest.split("# hook_time").next()).unwrap();
        for key in section.lines().skip(1).filter_map(|line| line.strip_prefix("# ")?.split_once(" = ")) {
            assert!(text.contains(&format!("{} = ", key.0)), "{}", key.0);
        }
        assert!(Limits::parse("depht = 3").is_err());
    }

    #[test]
    fn relative_paths_are_relative_to_the_file() {
        let config = parse("", &[]).unwrap();
        assert_eq!(config.store, Path::new("/etc/mm/store"));
        assert_eq!(config.incoming.drop_folder, Path::new("/etc/mm/drop"));
        assert_eq!(parse("store = '/var/s'", &[]).unwrap().store, Path::new("/var/s"));
    }

    #[test]
    fn an_unknown_key_names_file_line_and_the_nearest_known_key() {
        let error = parse("server = 'a'\n[incoming]\ndrop_foldr = 'x'\n", &[]).unwrap_err();
        assert_eq!(error.to_string(), "/etc/mm/mailmill.toml:3: unknown key `drop_foldr`; did you mean `drop_folder`?");
        let error = parse("\n[limits]\nmemory = 'lots'\n", &[]).unwrap_err();
        assert!(error.to_string().starts_with("/etc/mm/mailmill.toml:3: `lots` is not a size"), "{error}");
    }

    #[test]
    fn a_setting_of_the_other_mode_is_an_error() {
        let error = parse("[incoming]\nmode = 'automatic'\ndrop_folder = '/x'\n", &[]).unwrap_err();
        assert!(error.to_string().contains(":3: drop_folder belongs to mode"), "{error}");
        assert!(parse("[smtp]\nsafe_servers = ['10.0.0.1']\n", &[]).is_err());
        assert!(parse("[incoming]\nmode = 'automatic'\n[smtp]\nsafe_servers = ['10.0.0.1']\n", &[]).is_ok());
    }

    #[test]
    fn the_environment_wins_and_its_mistakes_name_the_variable() {
        let config = parse(
            "[incoming]\ndrop_folder = 'x'\n",
            &[("MAILMILL_INCOMING__DROP_FOLDER", "/y"), ("MAILMILL_LOG", "debug")],
        );
        assert_eq!(config.unwrap().incoming.drop_folder, Path::new("/y"));
        let error = parse("", &[("MAILMILL_INCOMING__DROP_FOLDR", "/y")]).unwrap_err();
        assert!(
            error.to_string().starts_with("environment variable MAILMILL_INCOMING__DROP_FOLDR: unknown key"),
            "{error}"
        );
        let config =
            parse("", &[("MAILMILL_LIMITS__GROUP_MAILS", "7"), ("MAILMILL_INCOMING__ENABLED", "false")]).unwrap();
        assert_eq!((config.limits.group_mails, config.incoming.enabled), (7, false));
    }
}
