//! The envelope of any drop file: no byte is lost, no recipient is empty or named twice.

use std::collections::HashSet;

use mailmill::pipeline::envelope::split;

pub fn check(file: &[u8]) {
    let (found, rest) = split(file);
    assert!(file.ends_with(rest), "the mail is the end of the file");
    let Some(envelope) = found else {
        assert_eq!(rest.len(), file.len(), "without an envelope the mail is the whole file");
        return;
    };
    assert!(!envelope.recipients.is_empty(), "an envelope names somebody");
    let distinct: HashSet<&String> = envelope.recipients.iter().collect();
    assert_eq!(distinct.len(), envelope.recipients.len(), "nobody is named twice");
    let addresses = envelope.recipients.iter().chain([&envelope.sender]);
    let mut bytes = 0;
    for address in addresses {
        assert!(!address.contains(['\r', '\n']), "an address is one line: {address:?}");
        bytes += address.len();
    }
    assert!(envelope.recipients.iter().all(|recipient| !recipient.is_empty()), "a recipient is somebody");
    // A byte that is not UTF-8 becomes the three of U+FFFD.
    let lines = file.len() - rest.len();
    assert!(bytes <= 3 * lines, "{bytes} bytes of addresses out of {lines}");
}
