"""Who makes a request: JSON Web Tokens, checked strictly, and the scopes they carry."""

from __future__ import annotations

from api.auth.authenticator import Authenticator as Authenticator
from api.auth.config import AuthConfig as AuthConfig
from api.auth.principal import ADMIN as ADMIN
from api.auth.principal import EXECUTE as EXECUTE
from api.auth.principal import READ as READ
from api.auth.principal import Principal as Principal
from api.auth.secret import load_or_create_secret as load_or_create_secret
from api.auth.tickets import TICKET_KEY_NAME as TICKET_KEY_NAME
from api.auth.tickets import Tickets as Tickets
from api.auth.tokens import make_token as make_token
