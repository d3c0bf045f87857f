//! The transaction state that every ReadyForQuery carries.

use crate::WireError;

/// Where a backend stands between two commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TxStatus {
    /// Outside a transaction block.
    #[default]
    Idle,
    /// Inside a transaction block.
    InTransaction,
    /// Inside a transaction block that failed; only its end is accepted.
    Failed,
}

impl TxStatus {
    /// The state a ReadyForQuery byte stands for.
    ///
    /// # Errors
    /// [`WireError::Unknown`] for any byte but `I`, `T` and `E`.
    pub fn from_byte(byte: u8) -> Result<Self, WireError> {
        match byte {
            b'I' => Ok(Self::Idle),
            b'T' => Ok(Self::InTransaction),
            b'E' => Ok(Self::Failed),
            other => Err(WireError::Unknown {
                tag: 'Z',
                field: "transaction status",
                value: i64::from(other),
            }),
        }
    }

    /// The byte of ReadyForQuery for this state.
    pub fn byte(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::InTransaction => b'T',
            Self::Failed => b'E',
        }
    }

    /// Whether the backend is outside a transaction block.
    pub fn is_idle(self) -> bool {
        self == Self::Idle
    }
}
