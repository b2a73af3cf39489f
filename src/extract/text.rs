//! Code pages to text. Windows numbers its encodings; the Encoding Standard names most of them, and `encoding_rs`,
//! which the mail parser brings along anyway, decodes those.

use encoding_rs::{Encoding, UTF_8, UTF_16LE, WINDOWS_1252};

/// The code page of most of the western world, and what Outlook writes when it does not know better.
pub(super) const WESTERN: u32 = 1252;

/// Text of a code page. Of one that is not known: UTF-8 where it is valid, else the western one. Bytes that are no text
/// become U+FFFD. The result is at most three times as long as `bytes`.
pub(super) fn decode(code_page: u32, bytes: &[u8]) -> String {
    let encoding = encoding(code_page).unwrap_or_else(|| match std::str::from_utf8(bytes) {
        Ok(_) => UTF_8,
        Err(_) => WINDOWS_1252,
    });
    encoding.decode_without_bom_handling(bytes).0.into_owned()
}

/// `PtypString` of MS-OXCDATA section 2.11.1.
pub(super) fn utf16(bytes: &[u8]) -> String {
    UTF_16LE.decode_without_bom_handling(bytes).0.into_owned()
}

/// The name of a file in the body of a mail, where nothing says the encoding.
pub(super) fn guess(bytes: &[u8]) -> String {
    decode(0, bytes)
}

/// Without the zero bytes that end a string, or what stands after the first of them.
pub(super) fn until_nul(text: &str) -> &str {
    text.split('\0').next().unwrap_or_default()
}

/// Windows code page identifiers.
fn encoding(code_page: u32) -> Option<&'static Encoding> {
    let label = match code_page {
        1252 | 20127 | 28591 => "windows-1252",
        866 => "ibm866",
        874 => "windows-874",
        932 => "shift_jis",
        936 | 20936 => "gbk",
        949 | 51949 => "euc-kr",
        950 => "big5",
        1200 => "utf-16le",
        1201 => "utf-16be",
        1250 => "windows-1250",
        1251 => "windows-1251",
        1253 => "windows-1253",
        1254 => "windows-1254",
        1255 => "windows-1255",
        1256 => "windows-1256",
        1257 => "windows-1257",
        1258 => "windows-1258",
        10000 => "macintosh",
        10007 => "x-mac-cyrillic",
        20866 => "koi8-r",
        20932 | 51932 => "euc-jp",
        21866 => "koi8-u",
        28592 => "iso-8859-2",
        28593 => "iso-8859-3",
        28594 => "iso-8859-4",
        28595 => "iso-8859-5",
        28596 => "iso-8859-6",
        28597 => "iso-8859-7",
        28598 | 38598 => "iso-8859-8",
        28599 => "iso-8859-9",
        28603 => "iso-8859-13",
        28605 => "iso-8859-15",
        50220..=50222 => "iso-2022-jp",
        54936 => "gb18030",
        65001 => "utf-8",
        _ => return None,
    };
    Encoding::for_label(label.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_page_decodes_as_windows_numbers_it() {
        assert_eq!(decode(1251, b"\xcf\xf0\xe8"), "При");
        assert_eq!(decode(932, b"\x83\x5c"), "ソ");
        assert_eq!(decode(1252, b"\x80"), "€");
        assert_eq!(utf16(b"a\0\x3d\xd8\x00\xde"), "a😀");
    }

    #[test]
    fn an_unknown_code_page_is_utf_8_if_it_can_be() {
        assert_eq!(decode(12345, "é".as_bytes()), "é");
        assert_eq!(decode(12345, b"\xe9"), "é");
    }
}
