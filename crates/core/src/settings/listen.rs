//! Where clients come in, out of what `[listen]` says.

use std::net::IpAddr;

use super::ListenSettings;

impl ListenSettings {
    /// The addresses to listen on.
    ///
    /// ```
    /// use pgherd_core::settings::ListenSettings;
    ///
    /// let address = "127.0.0.1, ::1".to_owned();
    /// let listen = ListenSettings { address, ..ListenSettings::default() };
    /// let addresses: Vec<_> = listen.addresses().map(|ip| ip.to_string()).collect();
    /// assert_eq!(addresses, ["127.0.0.1", "::1"]);
    /// ```
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.address_words().filter_map(|word| word.parse().ok())
    }

    pub(super) fn address_words(&self) -> impl Iterator<Item = &str> {
        self.address.split(',').map(str::trim).filter(|word| !word.is_empty())
    }

    /// The mode of the Unix socket's file; `None` if it is none.
    ///
    /// ```
    /// use pgherd_core::settings::ListenSettings;
    ///
    /// let mut listen = ListenSettings::default();
    /// assert_eq!(listen.unix_mode(), Some(0o777));
    /// listen.unix_socket_mode = "rwx".to_owned();
    /// assert_eq!(listen.unix_mode(), None);
    /// ```
    pub fn unix_mode(&self) -> Option<u32> {
        u32::from_str_radix(&self.unix_socket_mode, 8).ok().filter(|mode| *mode <= 0o777)
    }
}
