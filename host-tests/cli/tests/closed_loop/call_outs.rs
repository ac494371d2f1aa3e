//! call_outs
