//! AUTH PLAIN (RFC 4616) and LOGIN, under TLS only (RFC 4954). The password goes to the caller and is not kept.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use smtp_proto::{AUTH_LOGIN, AUTH_PLAIN};

use super::{Action, Session, State, Wish};
use crate::smtp::reply::{self, Reply};

/// What the next line of the client is.
#[derive(Debug)]
pub(super) enum Dialogue {
    Plain,
    User,
    Password { user: String },
}

/// "Username:" and "Password:", as every LOGIN client expects them.
const ASK_USER: Reply = Reply::new(334, "", "VXNlcm5hbWU6");
const ASK_PASSWORD: Reply = Reply::new(334, "", "UGFzc3dvcmQ6");
const ASK_PLAIN: Reply = Reply::new(334, "", "");

impl Session {
    pub(super) fn auth(&mut self, mechanism: u64, initial: &str, out: &mut Vec<u8>) -> Option<Action> {
        let refused = if !self.rules.offers_auth {
            Some(reply::NOT_OFFERED)
        } else if !self.client.secure {
            Some(reply::AUTH_NEEDS_TLS)
        } else if !self.extended {
            Some(reply::HELLO_FIRST)
        } else if self.client.user.is_some() {
            Some(reply::AUTH_ALREADY)
        } else if self.mail.is_some() {
            Some(reply::AUTH_NOT_NOW)
        } else {
            None
        };
        if let Some(refused) = refused {
            self.say(&refused, out);
            return None;
        }
        match (mechanism, initial) {
            (AUTH_PLAIN, "") => self.ask(Dialogue::Plain, &ASK_PLAIN, out),
            (AUTH_LOGIN, "") => self.ask(Dialogue::User, &ASK_USER, out),
            (AUTH_PLAIN, response) => self.respond(Dialogue::Plain, response, out),
            (AUTH_LOGIN, response) => self.respond(Dialogue::User, response, out),
            _ => {
                self.say(&reply::AUTH_UNKNOWN, out);
                None
            }
        }
    }

    fn ask(&mut self, dialogue: Dialogue, reply: &Reply, out: &mut Vec<u8>) -> Option<Action> {
        reply.write(out);
        self.state = State::Auth(dialogue);
        None
    }

    /// A line within the dialogue.
    pub(super) fn auth_line(&mut self, line: &[u8], out: &mut Vec<u8>) -> Option<Action> {
        let State::Auth(dialogue) = std::mem::replace(&mut self.state, State::Command) else { return None };
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end();
        if text == "*" {
            self.say(&reply::AUTH_CANCELLED, out);
            return self.close_after_errors(out);
        }
        self.respond(dialogue, text, out).or_else(|| self.close_after_errors(out))
    }

    fn respond(&mut self, dialogue: Dialogue, response: &str, out: &mut Vec<u8>) -> Option<Action> {
        // A lone equals sign is the empty response (RFC 4954 section 4).
        let response = if response == "=" { "" } else { response };
        let decoded = BASE64_STANDARD.decode(response).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let Some(text) = decoded else {
            self.say(&reply::AUTH_BAD, out);
            return None;
        };
        match dialogue {
            Dialogue::Plain => {
                let mut parts = text.split('\0');
                let (Some(_), Some(user), Some(password), None) =
                    (parts.next(), parts.next(), parts.next(), parts.next())
                else {
                    self.say(&reply::AUTH_BAD, out);
                    return None;
                };
                Some(self.check(user.to_owned(), password.to_owned()))
            }
            Dialogue::User => self.ask(Dialogue::Password { user: text }, &ASK_PASSWORD, out),
            Dialogue::Password { user } => Some(self.check(user, text)),
        }
    }

    fn check(&mut self, user: String, password: String) -> Action {
        self.state = State::Waiting(Wish::Password);
        Action::Check { user, password }
    }

    /// Answers the client who gave a password: `user` is whose it is, if anybody's.
    pub fn authenticated(&mut self, user: Option<String>, out: &mut Vec<u8>) -> Action {
        if !matches!(self.state, State::Waiting(Wish::Password)) {
            return Action::Read;
        }
        self.state = State::Command;
        let reply = if user.is_some() { reply::AUTH_OK } else { reply::AUTH_WRONG };
        self.client.user = user;
        self.say(&reply, out);
        self.close_after_errors(out).unwrap_or(Action::Read)
    }
}
