//! A transaction, and whether its statements keep a name on the server.
//!
//! sqlx prepares a statement in one round trip and runs it in another. If a connection
//! keeps its session, the statement is prepared under a name and used again. Behind a
//! transaction pooler that does not work: two round trips outside a transaction may reach
//! two servers, and the name may already stand for another client's statement there. So
//! behind a pooler every statement runs within a transaction, and has no name.

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use sqlx::error::BoxDynError;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{
    PgArguments, PgConnection, PgQueryResult, PgRow, PgStatement, PgTransaction, PgTypeInfo,
};
use sqlx::{Describe, Either, Execute, Executor, Postgres, SqlStr};

/// Whether a connection keeps its session from one transaction to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sessions {
    /// Each connection has a session of its own.
    Kept,
    /// A pooler gives each transaction whichever session is free.
    Shared,
}

/// Runs statements, all of them in one transaction. One that is dropped before
/// [`Transaction::commit`] is rolled back.
#[derive(Debug)]
pub struct Transaction {
    begun: Begun,
    sessions: Sessions,
}

#[derive(Debug)]
enum Begun {
    /// By `begin`.
    Explicitly(PgTransaction<'static>),
    /// By its one statement, which commits by itself.
    WithStatement(PoolConnection<Postgres>),
}

impl Transaction {
    pub(super) fn new(begun: PgTransaction<'static>, sessions: Sessions) -> Self {
        Self {
            begun: Begun::Explicitly(begun),
            sessions,
        }
    }

    pub(super) fn of_one_statement(connection: PoolConnection<Postgres>) -> Self {
        Self {
            begun: Begun::WithStatement(connection),
            sessions: Sessions::Kept,
        }
    }

    /// Commits.
    ///
    /// # Errors
    ///
    /// The database is away: then it may have been committed all the same.
    pub async fn commit(self) -> sqlx::Result<()> {
        match self.begun {
            Begun::Explicitly(transaction) => transaction.commit().await,
            Begun::WithStatement(_) => Ok(()),
        }
    }

    fn connection(&mut self) -> &mut PgConnection {
        match &mut self.begun {
            Begun::Explicitly(transaction) => transaction,
            Begun::WithStatement(connection) => connection,
        }
    }

    fn statement<E>(&self, statement: E) -> Statement<E> {
        Statement {
            statement,
            may_be_named: self.sessions == Sessions::Kept,
        }
    }
}

impl<'c> Executor<'c> for &'c mut Transaction {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, sqlx::Result<Either<PgQueryResult, PgRow>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let statement = self.statement(query);
        self.connection().fetch_many(statement)
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<PgRow>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let statement = self.statement(query);
        self.connection().fetch_optional(statement)
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, sqlx::Result<PgStatement>>
    where
        'c: 'e,
    {
        self.connection().prepare_with(sql, parameters)
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, sqlx::Result<Describe<Postgres>>>
    where
        'c: 'e,
    {
        self.connection().describe(sql)
    }
}

/// A statement that has a name only if it may.
struct Statement<E> {
    statement: E,
    may_be_named: bool,
}

impl<'q, E: Execute<'q, Postgres>> Execute<'q, Postgres> for Statement<E> {
    fn sql(self) -> SqlStr {
        self.statement.sql()
    }

    fn statement(&self) -> Option<&PgStatement> {
        self.statement.statement()
    }

    fn take_arguments(&mut self) -> Result<Option<PgArguments>, BoxDynError> {
        self.statement.take_arguments()
    }

    fn persistent(&self) -> bool {
        self.may_be_named && self.statement.persistent()
    }
}
