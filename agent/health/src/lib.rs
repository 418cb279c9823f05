//! The probe, the admin interface and the verdicts behind them
