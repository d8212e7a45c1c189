"""How clients and nodes talk: names, the cookie and its keys, messages, values, sockets. Knows no queue and no actor."""
