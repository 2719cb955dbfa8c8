//! The scenarios by sqlx, with queries that are made at run time.
//!
//! It cannot cancel a query, shows notices to its log only, and has neither pipelines nor batches.

use drivers::{prepared, run, scenario, sessions, settings, statements, transactions};

mod driver;
mod session;
mod streams;
mod values;

use session::Database;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    run::<Database>(&[
        scenario!(types_text: values::text),
        scenario!(types_binary: values::binary),
        scenario!(large_values: statements::large_values::<Database>),
        scenario!(prepared: prepared::many_times::<Database>),
        scenario!(prepared_many_clients: prepared::many_clients::<Database>),
        scenario!(prepared_reuse_after_error: prepared::reuse_after_error::<Database>),
        scenario!(unprepared_parameters: values::unprepared),
        scenario!(many_statements: prepared::many_statements::<Database>),
        scenario!(schema_change: prepared::schema_change::<Database>),
        scenario!(cursor: streams::cursor),
        scenario!(copy_in: streams::copy_in),
        scenario!(copy_out: streams::copy_out),
        scenario!(copy_in_error: streams::copy_in_error),
        scenario!(statement_timeout: statements::statement_timeout::<Database>),
        scenario!(errors: statements::errors::<Database>),
        scenario!(errors_in_transaction: transactions::errors::<Database>),
        scenario!(transactions: transactions::transactions::<Database>),
        scenario!(driver_transactions: driver::transactions),
        scenario!(session_settings: settings::session::<Database>),
        scenario!(startup_settings: settings::startup::<Database>),
        scenario!(listen_notify: driver::listen_notify),
        scenario!(advisory_locks: sessions::advisory_locks::<Database>),
        scenario!(driver_locks: driver::advisory_locks),
        scenario!(temp_tables: sessions::temp_tables::<Database>),
        scenario!(empty_and_multi: driver::empty_and_multi),
        scenario!(server_info: driver::server_info),
        scenario!(statement_cache: driver::statement_cache),
        scenario!(connection_lost: statements::connection_lost::<Database>),
    ])
    .await;
}
