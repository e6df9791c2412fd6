"""All exceptions, warnings and server messages of the driver, under asyncpg's names.

Owns: nothing but the public list of names; the roots live in ``_errorbase``, the class
per SQLSTATE in the generated ``_sqlstates``.
Imports: L0.
Rules: import errors from here, never from the two modules below, so that all classes
are registered before the first message of a server arrives.

What derives from what:

| root                  | says                                                       |
| --------------------- | ---------------------------------------------------------- |
| `PostgresError`       | the server reported an error; one subclass per SQLSTATE    |
| `PostgresLogMessage`  | the server said something that is not an error             |
| `InterfaceError`      | the driver was used in a way that cannot work              |
| `InterfaceWarning`    | the driver was used in a way that is likely a mistake      |
| `InternalClientError` | the connection or the peer failed                          |

Whether it is any use to try again, and safe, is in ``kind`` and ``outcome`` of each;
the tables are in ``_errorbase``.

`DataError` is the SQLSTATE class 22000, for values that the server refuses and for
arguments that cannot be encoded alike.
"""

from __future__ import annotations

# ruff: noqa: F403, F405
from typing import ClassVar

from ._errorbase import *
from ._errorbase import Kind as Kind
from ._errorbase import Outcome as Outcome
from ._sqlstates import *
from ._sqlstates import FeatureNotSupportedError

# Spelled out, since type checkers do not follow a list that is put together.
# fmt: off
__all__ = [
    "ActiveSQLTransactionError", "AdminShutdownError", "AmbiguousAliasError",
    "AmbiguousColumnError", "AmbiguousFunctionError", "AmbiguousParameterError",
    "ArraySubscriptError", "AssertError", "BadCopyFileFormatError",
    "BranchTransactionAlreadyActiveError", "CannotCoerceError", "CannotConnectNowError",
    "CantChangeRuntimeParamError", "CardinalityViolationError", "CaseNotFoundError",
    "CharacterNotInRepertoireError", "CheckViolationError", "ClientCannotConnectError",
    "ClientConfigurationError", "CollationMismatchError", "ConfigFileError",
    "ConfigurationLimitExceededError", "ConnectionDoesNotExistError",
    "ConnectionFailureError", "ConnectionRejectionError",
    "ContainingSQLNotPermittedError", "CrashShutdownError", "DataCorruptedError",
    "DataError", "DatabaseDroppedError", "DatatypeMismatchError",
    "DatetimeFieldOverflowError", "DeadlockDetectedError",
    "DependentObjectsStillExistError", "DependentPrivilegeDescriptorsStillExistError",
    "DeprecatedFeature", "DiagnosticsError", "DiskFullError", "DivisionByZeroError",
    "DuplicateAliasError", "DuplicateColumnError", "DuplicateCursorError",
    "DuplicateDatabaseError", "DuplicateFileError", "DuplicateFunctionError",
    "DuplicateJsonObjectKeyValueError", "DuplicateObjectError",
    "DuplicatePreparedStatementError", "DuplicateSchemaError", "DuplicateTableError",
    "DynamicResultSetsReturned", "ErrorInAssignmentError",
    "EscapeCharacterConflictError", "EventTriggerProtocolViolatedError",
    "ExclusionViolationError", "ExternalRoutineError", "ExternalRoutineInvocationError",
    "FDWColumnNameNotFoundError", "FDWDynamicParameterValueNeededError", "FDWError",
    "FDWFunctionSequenceError", "FDWInconsistentDescriptorInformationError",
    "FDWInvalidAttributeValueError", "FDWInvalidColumnNameError",
    "FDWInvalidColumnNumberError", "FDWInvalidDataTypeDescriptorsError",
    "FDWInvalidDataTypeError", "FDWInvalidDescriptorFieldIdentifierError",
    "FDWInvalidHandleError", "FDWInvalidOptionIndexError", "FDWInvalidOptionNameError",
    "FDWInvalidStringFormatError", "FDWInvalidStringLengthOrBufferLengthError",
    "FDWInvalidUseOfNullPointerError", "FDWNoSchemasError",
    "FDWOptionNameNotFoundError", "FDWOutOfMemoryError", "FDWReplyHandleError",
    "FDWSchemaNotFoundError", "FDWTableNotFoundError", "FDWTooManyHandlesError",
    "FDWUnableToCreateExecutionError", "FDWUnableToCreateReplyError",
    "FDWUnableToEstablishConnectionError", "FatalPostgresError",
    "FeatureNotSupportedError", "FileNameTooLongError", "ForeignKeyViolationError",
    "FunctionExecutedNoReturnStatementError", "GeneratedAlwaysError", "GroupingError",
    "HeldCursorRequiresSameIsolationLevelError", "IdleInTransactionSessionTimeoutError",
    "IdleSessionTimeoutError", "ImplicitZeroBitPadding", "InFailedSQLTransactionError",
    "InappropriateAccessModeForBranchTransactionError",
    "InappropriateIsolationLevelForBranchTransactionError",
    "IndeterminateCollationError", "IndeterminateDatatypeError", "IndexCorruptedError",
    "IndicatorOverflowError", "InsufficientPrivilegeError",
    "InsufficientResourcesError", "IntegrityConstraintViolationError", "InterfaceError",
    "InterfaceWarning", "InternalClientError", "InternalServerError",
    "IntervalFieldOverflowError", "InvalidArgumentForLogarithmError",
    "InvalidArgumentForNthValueFunctionError", "InvalidArgumentForNtileFunctionError",
    "InvalidArgumentForPowerFunctionError",
    "InvalidArgumentForSQLJsonDatetimeFunctionError",
    "InvalidArgumentForWidthBucketFunctionError", "InvalidArgumentForXqueryError",
    "InvalidAuthorizationSpecificationError", "InvalidBinaryRepresentationError",
    "InvalidCachedStatementError", "InvalidCatalogNameError",
    "InvalidCharacterValueForCastError", "InvalidColumnDefinitionError",
    "InvalidColumnReferenceError", "InvalidCursorDefinitionError",
    "InvalidCursorNameError", "InvalidCursorStateError",
    "InvalidDatabaseDefinitionError", "InvalidDatetimeFormatError",
    "InvalidEscapeCharacterError", "InvalidEscapeOctetError",
    "InvalidEscapeSequenceError", "InvalidForeignKeyError",
    "InvalidFunctionDefinitionError", "InvalidGrantOperationError",
    "InvalidGrantorError", "InvalidIndicatorParameterValueError",
    "InvalidJsonTextError", "InvalidLocatorSpecificationError", "InvalidNameError",
    "InvalidObjectDefinitionError", "InvalidParameterValueError",
    "InvalidPasswordError", "InvalidPrecedingOrFollowingSizeError",
    "InvalidPreparedStatementDefinitionError", "InvalidRecursionError",
    "InvalidRegularExpressionError", "InvalidRoleSpecificationError",
    "InvalidRowCountInLimitClauseError", "InvalidRowCountInResultOffsetClauseError",
    "InvalidSQLJsonSubscriptError", "InvalidSQLStatementNameError",
    "InvalidSavepointSpecificationError", "InvalidSchemaDefinitionError",
    "InvalidSchemaNameError", "InvalidSqlstateReturnedError",
    "InvalidTableDefinitionError", "InvalidTablesampleArgumentError",
    "InvalidTablesampleRepeatError", "InvalidTextRepresentationError",
    "InvalidTimeZoneDisplacementValueError", "InvalidTransactionInitiationError",
    "InvalidTransactionStateError", "InvalidTransactionTerminationError",
    "InvalidUseOfEscapeCharacterError", "InvalidXmlCommentError",
    "InvalidXmlContentError", "InvalidXmlDocumentError",
    "InvalidXmlProcessingInstructionError", "LocatorError", "LockFileExistsError",
    "LockNotAvailableError", "ModifyingExternalRoutineSQLDataNotPermittedError",
    "ModifyingSQLDataNotPermittedError", "MoreThanOneSQLJsonItemError",
    "MostSpecificTypeMismatchError", "NameTooLongError", "NoActiveSQLTransactionError",
    "NoActiveSQLTransactionForBranchTransactionError",
    "NoAdditionalDynamicResultSetsReturned", "NoData", "NoDataFoundError",
    "NoSQLJsonItemError", "NonNumericSQLJsonItemError",
    "NonUniqueKeysInAJsonObjectError", "NonstandardUseOfEscapeCharacterError",
    "NotAnXmlDocumentError", "NotNullViolationError",
    "NullValueEliminatedInSetFunction", "NullValueInExternalRoutineNotAllowedError",
    "NullValueNoIndicatorParameterError", "NullValueNotAllowedError",
    "NumericValueOutOfRangeError", "ObjectInUseError",
    "ObjectNotInPrerequisiteStateError", "OperatorInterventionError",
    "OutOfMemoryError", "OutdatedSchemaCacheError", "PLPGSQLError",
    "PipelineAbortedError",
    "PoolDeadlockError", "PoolDisabledError", "PoolError", "PoolTimeoutError",
    "PostgresConnectionError", "PostgresError", "PostgresFloatingPointError",
    "PostgresIOError", "PostgresLogMessage", "PostgresMessage", "PostgresSyntaxError",
    "PostgresSystemError", "PostgresWarning", "PrivilegeNotGranted",
    "PrivilegeNotRevoked", "ProgramLimitExceededError",
    "ProhibitedExternalRoutineSQLStatementAttemptedError",
    "ProhibitedSQLStatementAttemptedError", "ProtocolError", "ProtocolViolationError",
    "QueryCanceledError", "RaiseError", "ReadOnlySQLTransactionError",
    "ReadingExternalRoutineSQLDataNotPermittedError", "ReadingSQLDataNotPermittedError",
    "ReservedNameError", "RestrictViolationError", "SQLJsonArrayNotFoundError",
    "SQLJsonItemCannotBeCastToTargetTypeError", "SQLJsonMemberNotFoundError",
    "SQLJsonNumberNotFoundError", "SQLJsonObjectNotFoundError",
    "SQLJsonScalarRequiredError", "SQLRoutineError", "SQLStatementNotYetCompleteError",
    "SavepointError", "SchemaAndDataStatementMixingNotSupportedError",
    "SequenceGeneratorLimitExceededError", "SerializationError",
    "SingletonSQLJsonItemRequiredError", "SnapshotTooOldError",
    "SrfProtocolViolatedError", "StackedDiagnosticsAccessedWithoutActiveHandlerError",
    "StatementCompletionUnknownError", "StatementTooComplexError",
    "StringDataLengthMismatchError", "StringDataRightTruncation",
    "StringDataRightTruncationError", "SubstringError", "SyntaxOrAccessError",
    "TargetServerAttributeNotMatched", "TooManyArgumentsError", "TooManyColumnsError",
    "TooManyConnectionsError", "TooManyJsonArrayElementsError",
    "TooManyJsonObjectMembersError", "TooManyRowsError",
    "TransactionIntegrityConstraintViolationError", "TransactionResolutionUnknownError",
    "TransactionRollbackError", "TransactionTimeoutError",
    "TriggerProtocolViolatedError", "TriggeredActionError",
    "TriggeredDataChangeViolationError", "TrimError", "UndefinedColumnError",
    "UndefinedFileError", "UndefinedFunctionError", "UndefinedObjectError",
    "UndefinedParameterError", "UndefinedTableError", "UniqueViolationError",
    "UnknownPostgresError", "UnsafeNewEnumValueUsageError",
    "UnsupportedClientFeatureError", "UnsupportedServerFeatureError",
    "UnterminatedCStringError", "UntranslatableCharacterError", "WindowingError",
    "WithCheckOptionViolationError", "WrongObjectTypeError",
    "ZeroLengthCharacterStringError",
]
# fmt: on


class InvalidCachedStatementError(
    FeatureNotSupportedError, routine="RevalidateCachedQuery"
):
    """A prepared statement no longer fits the schema or the settings of the session.

    The server's own wording is in ``message``. The statement is forgotten: next time it
    is prepared anew. Within a transaction block, next time means the whole block.
    """

    kind: Kind = "transient"
    _text: ClassVar[str | None] = (
        "cached statement plan is invalid due to a database schema or configuration"
        " change"
    )


# Tracebacks, help() and pickles show the public home of a class.
for _name in __all__:
    globals()[_name].__module__ = __name__
del _name
