//! Sans-IO codecs and state machines: MySQL packets, SQL classifier, session state, RESP
