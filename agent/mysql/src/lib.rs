//! The local MySQL endpoint: pooled, multiplexed, read/write split
