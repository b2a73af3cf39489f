//! Items are packed before they are written: then the log, the memtable and the tables hold, copy, check and write less of them,
//! where RocksDB itself packs only what leaves the memtable.
//!
//! ```text
//! 0x01 CBOR                 a record as it is
//! 0x02 length:4 LZ4 block   packed; the length, little-endian, is that of the whole record, version byte included
//! ```

use std::borrow::Cow;

use lz4::block;
use minicbor::Encode;

use crate::store::{StoreError, keys};

const PACKED: u8 = 2;
/// The version byte and the length.
const HEAD: usize = 1 + size_of::<u32>();
/// Less is not worth it. Chosen, not tuned.
const FROM: usize = 256;

/// The bytes that are written for a record: packed where that makes it shorter.
pub(super) fn pack<T: Encode<()>>(record: &T) -> Vec<u8> {
    shorten(keys::encode(record))
}

fn shorten(record: Vec<u8>) -> Vec<u8> {
    if record.len() < FROM {
        return record;
    }
    // What is too long for LZ4 stays as it is.
    let Ok(bound) = block::compress_bound(record.len()) else { return record };
    let mut packed = vec![0; HEAD + bound];
    let Some((version, rest)) = packed.split_first_mut() else { return record };
    *version = PACKED;
    match block::compress_to_buffer(&record, None, true, rest) {
        Ok(length) if 1 + length < record.len() => {
            packed.truncate(1 + length);
            packed
        }
        _ => record,
    }
}

/// The record, whichever way it is written.
pub(super) fn unpack<'b>(family: &'static str, bytes: &'b [u8]) -> Result<Cow<'b, [u8]>, StoreError> {
    match bytes.split_first() {
        Some((&PACKED, packed)) => block::decompress(packed, None)
            .map(Cow::Owned)
            .map_err(|error| StoreError::Corrupt { family, cause: format!("it cannot be unpacked: {error}") }),
        _ => Ok(Cow::Borrowed(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_packed_record_is_frozen() {
        let record: Vec<u8> = [&[1][..], &b"abcdefgh".repeat(40)].concat();
        let packed = shorten(record.clone());
        assert_eq!(hex::encode(&packed), "02410100009f0161626364656667680800ff21506465666768");
        assert_eq!(*unpack("x", &packed).unwrap(), record[..]);
    }

    #[test]
    fn what_does_not_become_shorter_stays_as_it_is() {
        let short = vec![1; FROM - 1];
        assert_eq!(shorten(short.clone()), short);
        let dense: Vec<u8> = (0_u32..100).flat_map(|number| *blake3::hash(&number.to_le_bytes()).as_bytes()).collect();
        assert_eq!(shorten(dense.clone()), dense);
    }

    proptest! {
        #[test]
        fn what_is_packed_unpacks_to_the_same(start in proptest::collection::vec(any::<u8>(), 0..600), times in 1_usize..20) {
            let record = [vec![1], start.repeat(times)].concat();
            let packed = shorten(record.clone());
            prop_assert!(packed.len() <= record.len());
            prop_assert_eq!(&*unpack("x", &packed).unwrap(), &record[..]);
        }

        #[test]
        fn damage_is_no_panic_and_makes_nothing_longer(bytes in proptest::collection::vec(any::<u8>(), 0..64), length in 0_u32..10_000) {
            let damaged = [vec![PACKED], length.to_le_bytes().to_vec(), bytes].concat();
            if let Ok(record) = unpack("x", &damaged) {
                prop_assert!(record.len() <= length as usize);
            }
            prop_assert!(unpack("x", &damaged[..HEAD - 1]).is_err(), "its length is cut");
        }
    }
}
