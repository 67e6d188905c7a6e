"""What of PF_KEY Linux has as it comes: all that has a name here, but for the message of draft-schilcher."""

from pfkeyx.pfkey.message import ExtensionType, MessageType

MESSAGES = [message for message in MessageType if message is not MessageType.X_ADDRUPDATE]
_OF_THE_DRAFT = (ExtensionType.X_NEW_ADDRESS_SRC, ExtensionType.X_NEW_ADDRESS_DST)
EXTENSIONS = [extension for extension in ExtensionType if extension not in _OF_THE_DRAFT]
