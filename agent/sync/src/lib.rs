//! Files between Azure Storage and the local disk
