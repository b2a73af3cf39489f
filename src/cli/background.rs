//! Threads that work beside a command. The system may refuse one: then the command says so, and has not begun.

use std::thread::{Builder, JoinHandle};

use super::exit::Failure;
use crate::engine::EngineError;

/// Starts a thread under a name that `top -H` shows.
pub fn start<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Failure> {
    let started = Builder::new().name(name.to_owned()).spawn(work);
    started.map_err(|error| EngineError::Threads(error.to_string()).into())
}
