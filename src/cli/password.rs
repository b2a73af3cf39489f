//! `mailmill password`: the hash of a password, for `smtp.users`.

use std::io::Read;

use clap::Args;

use super::console::Console;
use super::exit::{Exit, Failure};
use crate::smtp::auth;

/// Print the hash of the password on standard input, for `users` of section [smtp]
#[derive(Args)]
#[command(after_help = "Example: read -rs p && printf %s \"$p\" | mailmill password

Put the line into the configuration: users = { ann = \"$argon2id$...\" }")]
pub struct Password;

/// Nobody types a longer one.
const LONGEST: u64 = 4096;

impl Password {
    pub fn carry_out(console: &mut Console) -> Result<Exit, Failure> {
        let mut text = String::new();
        let read = std::io::stdin().lock().take(LONGEST).read_to_string(&mut text);
        read.map_err(|error| Failure::Usage(format!("the password cannot be read: {error}")))?;
        let password = text.trim_end_matches(['\r', '\n']);
        if password.is_empty() {
            return Err(Failure::Usage("standard input holds no password".to_owned()));
        }
        let hash = auth::hash(password).ok_or_else(|| Failure::Engine("the password cannot be hashed".to_owned()))?;
        console.line(&hash)?;
        Ok(Exit::Good)
    }
}
