//! How large content is cut on its way to the storage. Pure.

/// Up to this size, in bytes, content is written in one request.
pub(crate) const SINGLE_MAX: u64 = 8 * 1024 * 1024;
/// The least size of a block, in bytes.
pub(crate) const BLOCK_MIN: u64 = 8 * 1024 * 1024;
/// How many blocks a blob may have (Azure: "Scalability targets for Blob storage").
const BLOCKS_MAX: u64 = 50_000;

/// The size of the blocks of content of `size` bytes: no more of them than a blob may have.
pub(crate) const fn block_length(size: u64) -> u64 {
    let least = size.div_ceil(BLOCKS_MAX);
    if least > BLOCK_MIN { least } else { BLOCK_MIN }
}

#[cfg(test)]
mod tests {
    //! The limit of the service.
    use super::*;

    #[test]
    fn whatever_the_size_there_are_never_more_blocks_than_a_blob_may_have() {
        let tib = 1_u64 << 40;
        for size in [
            SINGLE_MAX + 1,
            BLOCK_MIN * BLOCKS_MAX,
            BLOCK_MIN * BLOCKS_MAX + 1,
            190 * tib,
        ] {
            assert!(size.div_ceil(block_length(size)) <= BLOCKS_MAX, "{size}");
        }
        // the largest block the service takes, 4,000 MiB, is enough for its largest blob
        assert_eq!(block_length(BLOCK_MIN * BLOCKS_MAX), BLOCK_MIN);
        assert!(block_length(190 * tib) <= 4000 * 1024 * 1024);
    }
}
