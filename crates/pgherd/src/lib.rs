//! DistributedPool.
