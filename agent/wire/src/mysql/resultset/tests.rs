//! Tests of `resultset`.
