//! CRC-32 with the reflected polynomial 0xEDB88320, the one table behind yEnc and the compressed RTF of MS-OXRTFCP.

/// Half a byte at a time: the bodies this is for are small.
const TABLE: [u32; 16] = [
    0x0000_0000,
    0x1DB7_1064,
    0x3B6E_20C8,
    0x26D9_30AC,
    0x76DC_4190,
    0x6B6B_51F4,
    0x4DB2_6158,
    0x5005_713C,
    0xEDB8_8320,
    0xF00F_9344,
    0xD6D6_A3E8,
    0xCB61_B38C,
    0x9B64_C2B0,
    0x86D3_D2D4,
    0xA00A_E278,
    0xBDBD_F21C,
];

/// The register after `bytes`. MS-OXRTFCP section 3.1.3.2 starts at 0 and takes the register as it is.
pub(super) fn register(start: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(start, |crc, byte| half(half(crc ^ u32::from(*byte))))
}

fn half(crc: u32) -> u32 {
    let [low, ..] = crc.to_le_bytes();
    TABLE.get(usize::from(low & 0xF)).map_or(crc, |entry| crc >> 4 ^ entry)
}

/// The checksum of yEnc, ZIP and Ethernet.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    !register(!0, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_crc_32_comes_out() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }
}
