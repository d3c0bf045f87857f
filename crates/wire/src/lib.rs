//! PostgreSQL protocol on bytes.
