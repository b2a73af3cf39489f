//! A seam for tests: every call by which the spool touches the file system asks here first, and the n-th can be made to fail,
//! as an error or as the end of the process. Outside of tests there is nothing here.

use rustix::io::Errno;

/// Asked before each touch. `label` names the server whose spool it is.
#[cfg(not(test))]
#[inline(always)]
#[allow(clippy::inline_always, clippy::unnecessary_wraps)] // so that nothing of it is left
pub const fn point(_label: &str, _step: &'static str) -> Result<(), Errno> {
    Ok(())
}

#[cfg(test)]
pub use seam::{At, Fault, Faults, point};

#[cfg(test)]
mod seam {
    use std::collections::HashMap;
    use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

    use super::Errno;

    /// What happens at the chosen call.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Fault {
        /// It answers this error, once.
        Error(Errno),
        /// The process dies there: it and everything after it has no effect.
        Death,
    }

    /// Which call fails, counted from 0: of all, or of those of one step.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum At {
        Call(usize),
        Step(&'static str, usize),
    }

    #[derive(Debug, Default)]
    struct State {
        at: Option<(At, Fault)>,
        steps: Vec<&'static str>,
        dead: bool,
        hit: bool,
    }

    /// The faults of one server, shared by its spool and its store.
    #[derive(Debug, Default)]
    pub struct Faults(Mutex<State>);

    static SERVERS: LazyLock<Mutex<HashMap<String, Arc<Faults>>>> = LazyLock::new(Mutex::default);

    fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    impl Faults {
        /// The faults of the server with this label from now on.
        pub fn of(label: &str) -> Arc<Self> {
            Arc::clone(lock(&SERVERS).entry(label.to_owned()).or_default())
        }

        pub fn arm(&self, at: At, fault: Fault) {
            *lock(&self.0) = State { at: Some((at, fault)), ..State::default() };
        }

        /// Life goes on: what was dead is dropped and opened again.
        pub fn disarm(&self) {
            *lock(&self.0) = State::default();
        }

        /// Whether the chosen call came at all.
        pub fn was_hit(&self) -> bool {
            lock(&self.0).hit
        }

        /// The steps taken since it was armed, the one that failed last.
        pub fn steps(&self) -> Vec<&'static str> {
            lock(&self.0).steps.clone()
        }

        pub fn call(&self, step: &'static str) -> Result<(), Errno> {
            let mut state = lock(&self.0);
            if state.dead {
                return Err(Errno::IO);
            }
            let Some((at, fault)) = state.at else { return Ok(()) };
            if state.hit {
                return Ok(());
            }
            state.steps.push(step);
            let is_here = match at {
                At::Call(number) => state.steps.len() > number,
                At::Step(wanted, number) => state.steps.iter().filter(|step| **step == wanted).count() > number,
            };
            if !is_here {
                return Ok(());
            }
            state.hit = true;
            match fault {
                Fault::Error(errno) => Err(errno),
                Fault::Death => {
                    state.dead = true;
                    Err(Errno::IO)
                }
            }
        }
    }

    pub fn point(label: &str, step: &'static str) -> Result<(), Errno> {
        let faults = lock(&SERVERS).get(label).cloned();
        faults.map_or(Ok(()), |faults| faults.call(step))
    }
}
