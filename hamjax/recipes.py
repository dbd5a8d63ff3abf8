"""`make_config` under the name that users' config files import it by."""

from hamjax.config.recipes import make_config as make_config
