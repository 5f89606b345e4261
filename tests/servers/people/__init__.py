"""An application for django-scim2, with the models that its documentation asks for."""
