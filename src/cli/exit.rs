//! How a command ends: the exit codes of the contract, and a sentence where something is wrong.

use std::fmt;
use std::process::ExitCode;

use crate::config::ConfigError;
use crate::engine::EngineError;
use crate::lists::ListError;
use crate::spool::SpoolError;
use crate::store::StoreError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Good = 0,
    Engine = 1,
    Usage = 2,
    /// The batch is complete, but some mail was refused, damaged or deferred.
    Failures = 3,
    /// Another process owns the store.
    Busy = 4,
}

impl Exit {
    pub fn from_code(code: u8) -> Self {
        let all = [Self::Good, Self::Engine, Self::Usage, Self::Failures, Self::Busy];
        all.into_iter().find(|exit| *exit as u8 == code).unwrap_or(Self::Engine)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command could not be carried out.
#[derive(Debug)]
pub enum Failure {
    Usage(String),
    Engine(String),
    Busy(String),
    /// Standard output, or the connection to whoever asked.
    Output(std::io::Error),
}

impl Failure {
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Engine(_) | Self::Output(_) => Exit::Engine,
            Self::Busy(_) => Exit::Busy,
        }
    }

    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe)
    }

    /// An error of the system about a path.
    pub fn at(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::Engine(format!("{}: {error}", path.display()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Engine(text) | Self::Busy(text) => f.write_str(text),
            Self::Output(error) => write!(f, "the output cannot be written: {error}"),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Spool(error) => error.into(),
            EngineError::ForeignStore { .. } => Self::Usage(error.to_string()),
            error => Self::Engine(error.to_string()),
        }
    }
}

impl From<SpoolError> for Failure {
    fn from(error: SpoolError) -> Self {
        match error {
            SpoolError::NoSuchFailure(_) | SpoolError::NoSuchServer(_) | SpoolError::ServerNotUnique(..) => {
                Self::Usage(error.to_string())
            }
            error => Self::Engine(error.to_string()),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Engine(error.to_string())
    }
}

impl From<ListError> for Failure {
    fn from(error: ListError) -> Self {
        match error {
            ListError::Store(error) => error.into(),
            error => Self::Usage(error.to_string()),
        }
    }
}
