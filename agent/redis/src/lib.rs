//! Redis: warm jobs today, the local endpoint next
