//! Names and passwords of `smtp.users`. A password is kept as an Argon2 hash (RFC 9106) and nowhere else.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash};

/// Whether this is the password of this user. Takes its time (that is the point of the hash), and as long for a user who does
/// not exist: nobody learns which names there are.
pub fn verify(users: &BTreeMap<String, String>, user: &str, password: &str) -> bool {
    static NOBODY: LazyLock<String> = LazyLock::new(|| hash("").unwrap_or_default());
    let known = users.get(user);
    let hash = known.unwrap_or(&NOBODY);
    let Ok(hash) = PasswordHash::new(hash) else { return false };
    Argon2::default().verify_password(password.as_bytes(), &hash).is_ok() && known.is_some()
}

/// The hash to put into the configuration.
pub fn hash(password: &str) -> Option<String> {
    Argon2::default().hash_password(password.as_bytes()).ok().map(|hash| hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_by_its_hash_alone() {
        let users =
            BTreeMap::from([("ann".to_owned(), hash("secret").unwrap()), ("bad".to_owned(), "$argon2".to_owned())]);
        assert!(users["ann"].starts_with("$argon2id$"));
        assert!(verify(&users, "ann", "secret"));
        for (user, password) in [("ann", "Secret"), ("ann", ""), ("bob", "secret"), ("bad", ""), ("", "")] {
            assert!(!verify(&users, user, password), "{user} {password}");
        }
    }
}
