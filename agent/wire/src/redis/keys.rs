//! The slot of a key in a cluster (Redis cluster specification, "Key distribution model" and "Hash tags").

/// How many slots there are.
pub const SLOTS: u16 = 16384;

/// CRC-16/XMODEM, bit by bit into a table when compiled.
static CRC: [u16; 256] = table();

const fn table() -> [u16; 256] {
    let mut table = [0_u16; 256];
    let mut byte = 0_u16;
    while byte < 256 {
        let mut crc = byte << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 {
                crc << 1 ^ 0x1021
            } else {
                crc << 1
            };
            bit += 1;
        }
        put(&mut table, byte, crc);
        byte += 1;
    }
    table
}

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which checks the bounds"
)]
const fn put(table: &mut [u16; 256], at: u16, value: u16) {
    table[at as usize] = value;
}

/// The slot of a key, from 0 to 16383.
#[must_use]
pub fn slot(key: &[u8]) -> u16 {
    let crc = hashed(key).iter().fold(0_u16, |crc, byte| {
        let [high, low] = crc.to_be_bytes();
        let entry = CRC
            .get(usize::from(high ^ byte))
            .copied()
            .unwrap_or_default();
        u16::from_be_bytes([low, 0]) ^ entry
    });
    crc % SLOTS
}

/// The part of a key that decides on its slot: what stands between the first `{` and the next `}` if that is not nothing.
fn hashed(key: &[u8]) -> &[u8] {
    let Some(open) = memchr::memchr(b'{', key) else {
        return key;
    };
    let inner = key.get(open + 1..).unwrap_or_default();
    match memchr::memchr(b'}', inner) {
        None | Some(0) => key,
        Some(end) => inner.get(..end).unwrap_or(key),
    }
}

/// A key with this prefix that lies in the same slot as `key`; `None` if none can be made (a key with a brace but no hash tag).
#[must_use]
pub fn beside(prefix: &str, key: &[u8]) -> Option<Vec<u8>> {
    let mut name = Vec::with_capacity(prefix.len() + key.len() + 2);
    name.extend_from_slice(prefix.as_bytes());
    if hashed(key).len() < key.len() {
        name.extend_from_slice(key);
        return Some(name);
    }
    if memchr::memchr(b'}', key).is_some() || key.is_empty() {
        return None;
    }
    name.push(b'{');
    name.extend_from_slice(key);
    name.push(b'}');
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        // CLUSTER KEYSLOT of a Redis 7.0
        for (key, expected) in [
            ("123456789", 12739),
            ("foo", 12182),
            ("{user1000}.following", slot(b"user1000")),
            ("foo{}{bar}", slot(b"foo{}{bar}")),
            ("foo{{bar}}zap", slot(b"{bar")),
            ("foo{bar}{zap}", slot(b"bar")),
            ("", 0),
        ] {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
        assert_ne!(slot(b"foo{}{bar}"), slot(b"bar"));
    }

    #[test]
    fn a_key_beside_another_is_in_its_slot_or_there_is_none() {
        for key in ["k", "a{tag}b", "shop:1", "{t}", "x{y", "{", "a{}b{c}"] {
            if let Some(name) = beside("lmp:h:", key.as_bytes()) {
                assert_eq!(slot(&name), slot(key.as_bytes()), "{key}");
            }
        }
        assert_eq!(beside("p:", b"k"), Some(b"p:{k}".to_vec()));
        assert_eq!(beside("p:", b"a{b}c"), Some(b"p:a{b}c".to_vec()));
        assert_eq!(beside("p:", b"a}b"), None);
    }
}
